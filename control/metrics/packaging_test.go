package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"braid/control"
)

// The board and the alerts ask for what there is: each name, with labels and
// states that it has.
func TestBoardAndAlerts(t *testing.T) {
	exposed := map[string]string{} // its labels, as text
	for role, status := range map[string]any{control.RoleClient: fullClient("dsl"), control.RoleServer: fullServer(1, 1)} {
		for _, f := range gathered(t, role, status) {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					exposed[f.GetName()] += l.GetName() + "=" + l.GetValue() + ";"
				}
			}
			exposed[f.GetName()] += ";"
		}
	}
	name := regexp.MustCompile(`\bbraid_[a-z_]+`)
	state := regexp.MustCompile(`state="([a-z]+)"`)
	legend := regexp.MustCompile(`\{\{\s*(?:with )?\$?(?:labels\.)?([a-z]+)\s*\}\}`)
	for path, expressions := range map[string][]string{
		"../../packaging/grafana/braid.json":         boardExpressions(t, "../../packaging/grafana/braid.json"),
		"../../packaging/prometheus/braid.rules.yml": ruleExpressions(t, "../../packaging/prometheus/braid.rules.yml"),
	} {
		if len(expressions) < 8 {
			t.Errorf("%s: %d expressions", path, len(expressions))
		}
		for _, e := range expressions {
			names := name.FindAllString(e, -1)
			if len(names) == 0 && !strings.Contains(e, "up{") && !strings.Contains(e, "process_") {
				t.Errorf("%s: %s asks for nothing of braid", path, e)
			}
			labels := "instance=;job=;client=;end=;" // what is a client's alone has no label client
			for _, n := range names {
				if exposed[n] == "" {
					t.Errorf("%s: there is no %s", path, n)
				}
				labels += exposed[n]
			}
			for _, s := range state.FindAllStringSubmatch(e, -1) {
				if !strings.Contains(labels, "state="+s[1]+";") {
					t.Errorf("%s: there is no state %s", path, s[1])
				}
			}
			for _, l := range legend.FindAllStringSubmatch(e, -1) {
				if !strings.Contains(labels, l[1]+"=") {
					t.Errorf("%s: %s: there is no label %s", path, e, l[1])
				}
			}
		}
	}
}

// boardExpressions are a board's questions, each with its legend.
func boardExpressions(t *testing.T, path string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Definition string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	var ids []int
	for _, p := range board.Panels {
		if slices.Contains(ids, p.ID) || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q is not well", p.ID, p.Title)
		}
		ids = append(ids, p.ID)
		for _, q := range p.Targets {
			list = append(list, q.Expr+" "+q.LegendFormat)
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			list = append(list, v.Definition)
		}
	}
	return list
}

// ruleExpressions are the alerts' questions, each with what it says then.
func ruleExpressions(t *testing.T, path string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range strings.Split(string(b), "- alert: ")[1:] {
		if !strings.Contains(alert, "expr: ") || !strings.Contains(alert, "severity: ") || !strings.Contains(alert, "summary: ") {
			t.Errorf("not whole: %s", alert)
		}
		list = append(list, alert)
	}
	return list
}

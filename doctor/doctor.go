// Package doctor judges what was found out about a host, its uplinks and the
// server.
//
//	Facts ── Judge ──▶ Report: findings, what is good, what could not be looked at
//
// It asks nobody and changes nothing: the facts are the caller's to gather
// (cmd/braid does), with a zero value where something is not known. The catalogue
// lists all that can be found, and docs/operations.md repeats it.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity is how much a finding matters.
type Severity uint8

// The severities.
const (
	Note    Severity = iota // worth knowing; nothing is wrong
	Warning                 // works, but not as well as it could
	Error                   // does not work, or not by this uplink
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("severity-%d", uint8(s))
}

// MarshalText implements encoding.TextMarshaler, for JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	for _, is := range []Severity{Note, Warning, Error} {
		if string(b) == is.String() {
			*s = is
			return nil
		}
	}
	return fmt.Errorf("unknown severity %q", b)
}

// Subjects that are no uplinks.
const (
	SubjectHost   = "host"
	SubjectServer = "server"
)

// Finding is one thing that is to be told.
type Finding struct {
	ID       string   `json:"id"` // of the catalogue
	Severity Severity `json:"severity"`
	Subject  string   `json:"subject"` // SubjectHost, SubjectServer, or "uplink" and its name
	Problem  string   `json:"problem"`
	Evidence []string `json:"evidence"`
	Mend     string   `json:"mend"` // empty where nothing is to be mended
}

// Good is a check that found nothing.
type Good struct {
	Subject string `json:"subject"`
	Checked string `json:"checked"`
}

// Skipped is what could not be looked at.
type Skipped struct {
	Subject string `json:"subject"`
	Check   string `json:"check"`
	Reason  string `json:"reason"`
}

// Report is what Judge says. Findings are sorted, the worst first.
type Report struct {
	Findings []Finding       `json:"findings"`
	Good     []Good          `json:"good"`
	Skipped  []Skipped       `json:"skipped"`
	Uplinks  []UplinkFigures `json:"uplinks"`
}

// Worst is the highest severity of the findings; ok is false when there are none.
func (r Report) Worst() (worst Severity, ok bool) {
	for _, f := range r.Findings {
		worst = max(worst, f.Severity)
	}
	return worst, len(r.Findings) > 0
}

// UplinkSubject is the subject of an uplink's findings.
func UplinkSubject(name string) string { return "uplink " + name }

// Judge says what the facts mean.
func Judge(f Facts) Report {
	r := Report{Findings: []Finding{}, Good: []Good{}, Skipped: slices.Clone(f.Skipped), Uplinks: []UplinkFigures{}}
	if r.Skipped == nil {
		r.Skipped = []Skipped{}
	}
	j := &judge{Facts: f, report: &r}
	j.host()
	j.server()
	for i := range f.Uplinks {
		u := &f.Uplinks[i]
		j.uplink(u)
		r.Uplinks = append(r.Uplinks, u.figures())
	}
	j.serving()
	rank := func(f Finding) int {
		switch f.Subject {
		case SubjectHost:
			return 0
		case SubjectServer:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), rank(a)-rank(b))
	})
	return r
}

// judge collects a report.
type judge struct {
	Facts
	report *Report
}

// found adds a finding of the catalogue, with evidence where there is any.
func (j *judge) found(id, subject string, evidence ...string) {
	k := kindOf(id)
	j.add(Finding{ID: id, Severity: k.Severity, Subject: subject, Problem: k.Problem, Evidence: evidence, Mend: k.Mend})
}

// mended is found with another mend than the catalogue's.
func (j *judge) mended(id, subject, mend string, evidence ...string) {
	j.found(id, subject, evidence...)
	if mend != "" {
		j.report.Findings[len(j.report.Findings)-1].Mend = mend
	}
}

func (j *judge) add(f Finding) {
	f.Evidence = slices.DeleteFunc(f.Evidence, func(s string) bool { return s == "" })
	if f.Evidence == nil {
		f.Evidence = []string{}
	}
	j.report.Findings = append(j.report.Findings, f)
}

func (j *judge) good(subject, format string, args ...any) {
	j.report.Good = append(j.report.Good, Good{subject, fmt.Sprintf(format, args...)})
}

func (j *judge) skip(subject, check, reason string) {
	j.report.Skipped = append(j.report.Skipped, Skipped{subject, check, reason})
}

// has reports whether something was found.
func (j *judge) has(id string) bool {
	return slices.ContainsFunc(j.report.Findings, func(f Finding) bool { return f.ID == id })
}

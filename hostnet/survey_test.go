package hostnet

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A survey sees what there is, and what others have set up.
func TestSurvey(t *testing.T) {
	c, _, _ := client(t)
	c.ip("rule add priority 5270 lookup 52")
	k := c.host()
	uplinks, err := k.Uplinks(func(name string) bool { return name != "braid0" })
	if err != nil || len(uplinks) != 2 || uplinks[0].Name != "dsl" || uplinks[1].Name != "lte" {
		t.Fatalf("%+v, %v", uplinks, err)
	}
	interfaces, err := k.Interfaces()
	lan := slices.IndexFunc(interfaces, func(i Interface) bool { return i.Name == "lan" })
	if err != nil || lan < 0 || !interfaces[lan].Up || !slices.Contains(interfaces[lan].Addresses, netip.MustParseAddr("192.168.1.1")) {
		t.Errorf("%+v, %v", interfaces, err)
	}
	if strict, err := k.ReversePathStrict("dsl"); err != nil || !strict {
		t.Errorf("strict %v, %v", strict, err)
	}
	if rules, err := k.ForeignRules(); err != nil || len(rules) != 1 || !strings.Contains(rules[0], "5270") {
		t.Errorf("%q, %v", rules, err)
	}
	c.ip("neigh replace 192.0.2.1 lladdr 02:00:00:00:00:07 dev dsl")
	if mac, err := k.HardwareAddress(uplinks[0].Index, netip.MustParseAddr("192.0.2.1")); err != nil || mac != "02:00:00:00:00:07" {
		t.Errorf("%q, %v", mac, err)
	}
	if mac, err := k.HardwareAddress(uplinks[0].Index, netip.MustParseAddr("192.0.2.99")); err != nil || mac != "" {
		t.Errorf("of nobody: %q, %v", mac, err)
	}
	if ok, err := k.HasTable("braid0"); ok || err != nil {
		t.Errorf("there is no table: %v, %v", ok, err)
	}
	ranges := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}
	if list, err := k.ClosedChains("braid0", ranges, false); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	c.run("nft", "add table inet filter; add chain inet filter forward { type filter hook forward priority 0; policy drop; }")
	if list, err := k.ClosedChains("braid0", ranges, false); err != nil || len(list) != 1 || list[0].Chain != "inet filter forward" || list[0].Mend == "" {
		t.Errorf("%v, %v", list, err)
	}
}

package config

import "testing"

// An empty list is another thing than none.
func TestClientDNS(t *testing.T) {
	for text, want := range map[string]bool{"": true, "dns = []": false, `dns = ["9.9.9.9"]`: false} {
		if c := parseClientText(t, clientRequired+"[tunnel]\n"+text); c.Tunnel.ServerDNS != want {
			t.Errorf("%s: the server's is used: %v", text, c.Tunnel.ServerDNS)
		}
	}
	for text, want := range map[string]bool{
		`["0.0.0.0/0", "::/0"]`: true, `["0.0.0.0/0"]`: true, `["::/0"]`: true, `["0.0.0.0/1", "128.0.0.0/1"]`: true,
		`["10.0.0.0/8", "fd00::/8"]`: false, `[]`: false,
	} {
		if c := parseClientText(t, clientRequired+"[tunnel]\nroutes = "+text); c.Tunnel.Full() != want {
			t.Errorf("routes %s: full %v", text, c.Tunnel.Full())
		}
	}
}

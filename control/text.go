package control

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteText writes the status, a *Client or a *Server, for people.
func WriteText(w io.Writer, status any) error {
	var b strings.Builder
	switch s := status.(type) {
	case *Client:
		s.text(&b)
	case *Server:
		s.text(&b)
	default:
		return fmt.Errorf("write status: no text for %T", status)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Client) text(b *strings.Builder) {
	head := fmt.Sprintf("client %s, tunnel %s", s.Session.State, s.Session.Device)
	if len(s.Session.Addresses) > 0 {
		head += " with " + joined(s.Session.Addresses)
	}
	if s.Session.Server != "" {
		head += ", server " + s.Session.Server
	}
	writeWrapped(b, "", head)
	writeWrapped(b, "", s.Verdict.Text)
	if s.KillSwitch {
		b.WriteString("kill switch: closed, nothing of the tunnel's leaves beside it\n")
	}
	if len(s.Uplinks) == 0 {
		b.WriteString(noUplink)
	} else {
		uplinkTable(b, "uplink", "down", "up", s.Uplinks)
		writeWrapped(b, "", "bonding: "+s.Gain.Text)
	}
	s.overflowText(b)
	s.PacketLane.text(b)
	s.DNS.text(b)
	s.Streams.text(b, s.Session.State)
}

func (s *Server) text(b *strings.Builder) {
	up := 0
	for _, c := range s.Clients {
		if c.State == SessionUp {
			up++
		}
	}
	writeWrapped(b, "", fmt.Sprintf("server on %s, tunnel %s, %d of %d clients connected",
		strings.Join(s.Listen, " "), s.Device, up, len(s.Clients)))
	for _, c := range s.Clients {
		head := fmt.Sprintf("%s %s, %s", c.Name, c.State, joined(c.Addresses))
		if c.Since != "" {
			head += ", session since " + c.Since
		}
		b.WriteByte('\n')
		writeWrapped(b, "", head)
		if c.State == SessionUp {
			writeWrapped(b, "", c.Verdict.Text)
		}
		if len(c.Uplinks) > 0 {
			uplinkTable(b, "from", "received", "sent", c.Uplinks)
		}
		c.PacketLane.text(b)
		c.Streams.text(b, c.State)
	}
}

// writeTrimmed writes the lines of a table without the spaces at their ends.
func writeTrimmed(b *strings.Builder, lines string) {
	for line := range strings.Lines(lines) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

// textColumns is how wide the text is at most, as long as no word is longer.
const textColumns = 100

// writeWrapped writes a text in lines that begin with indent, the second and
// later ones two columns further.
func writeWrapped(b *strings.Builder, indent, text string) {
	wrapTo(b, indent, text, textColumns)
}

// wrapTo is writeWrapped with lines of another width.
func wrapTo(b *strings.Builder, indent, text string, columns int) {
	used := 0 // columns of the line
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case used == 0:
			b.WriteString(indent)
			used = len(indent)
		case used+1+n > columns:
			b.WriteString("\n" + indent + "  ")
			used = len(indent) + 2
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	b.WriteByte('\n')
}

func joined[T fmt.Stringer](list []T) string {
	var s []string
	for _, p := range list {
		s = append(s, p.String())
	}
	return strings.Join(s, " ")
}

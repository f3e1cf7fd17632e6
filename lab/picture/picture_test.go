package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPicture(t *testing.T) {
	const text = "plain \x1b[1m\x1b[32mgood\x1b[39m\x1b[0m <&>\n\x1b[30;41m DOWN \x1b[0m ⣿⡇\n\x1b[7mreversed\x1b[27m\x1b[38;5;4mblue\x1b[K\x1b[38;5;200m no such\n\x1b[unfinished"
	var b strings.Builder
	if err := convert(strings.NewReader(text), &b, "a <title>", 80); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"<title>a &lt;title&gt;</title>",
		`fill="` + palette[2] + `" font-weight="bold">good</text>`,
		">&lt;&amp;&gt;</text>",
		`height="18" fill="` + palette[1] + `"/>`,
		`fill="` + palette[0] + `">DOWN</text>`,
		`fill="` + ground + `">reversed</text>`,
		`fill="` + palette[4] + `">blue</text>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "h3.4v3.7"); n != 12 {
		t.Errorf("%d dots, want 12", n)
	}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a terminal showed, the picture is one.
func FuzzPicture(f *testing.F) {
	f.Add("\x1b[1;31mx\x1b[0m ⣿ \x1b[38;5;")
	f.Fuzz(func(t *testing.T, text string) {
		svg(parse(text), text, 1)
	})
}

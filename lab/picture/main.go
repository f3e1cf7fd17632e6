// Command picture turns what a terminal shows, as "tmux capture-pane -e -p" prints
// it, into an SVG picture:
//
//	go run ./lab/picture -title "one uplink is dead" <top-dead.ansi >top-dead.svg
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	title := flag.String("title", "", "what the picture shows, for those who cannot see it")
	columns := flag.Int("columns", 80, "the least width, in characters")
	flag.Parse()
	if err := convert(os.Stdin, os.Stdout, *title, *columns); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func convert(in io.Reader, out io.Writer, title string, columns int) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the terminal's text: %w", err)
	}
	if _, err := io.WriteString(out, svg(parse(string(text)), title, columns)); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

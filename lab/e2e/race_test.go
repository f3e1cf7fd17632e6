//go:build race

package e2e

// The program under test is built like the test: with the race detector.
func init() { buildFlags = append(buildFlags, "-race") }

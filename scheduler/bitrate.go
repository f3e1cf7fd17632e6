package scheduler

import "fmt"

// BitRate is in bits per second.
type BitRate float64

// String writes the rate for people, as "19.8 Mb/s".
func (r BitRate) String() string { return fmt.Sprintf("%.1f Mb/s", float64(r)/1e6) }

// Rates are those of both directions, as the client sees them.
type Rates struct {
	Rx BitRate // from the server, down
	Tx BitRate // to the server, up
}

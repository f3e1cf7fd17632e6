package main

import (
	"sync"

	"braid/mptcp"
	"braid/tunnel"
)

// pacing is tunnel.Pacing with the kernel's means, which are made when they are
// first needed: they cost some megabytes for a moment.
type pacing struct {
	once   sync.Once
	kernel *mptcp.SubflowPacing
	err    error
}

func newPacing() *pacing { return &pacing{} }

// Pace implements tunnel.Pacing.
func (p *pacing) Pace(list []tunnel.PacedSubflow) error {
	p.once.Do(func() { p.kernel, p.err = mptcp.NewSubflowPacing() })
	if p.err != nil {
		return p.err
	}
	flows := make([]mptcp.PacedFlow, len(list))
	for i, f := range list {
		flows[i] = mptcp.PacedFlow{Local: f.Local, Remote: f.Remote, Rate: mptcp.ByteRate(f.Rate / 8)}
	}
	return p.kernel.Set(flows)
}

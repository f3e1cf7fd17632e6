package mptcp

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// SubflowPacing bounds the rate of single subflows (SO_MAX_PACING_RATE), which
// the kernel refuses on an MPTCP socket, and a program holds no other. So a BPF
// program sets it, which the kernel runs over the TCP sockets of this network
// namespace whenever it is asked to (iter/tcp, since 5.15). It changes only sockets
// that it was told of, and without this process nothing runs.
//
// It needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and a kernel with type
// information (CONFIG_DEBUG_INFO_BTF, which distributions' have). Its methods are
// safe for concurrent use.
type SubflowPacing struct {
	mu    sync.Mutex // guards what follows
	rates *ebpf.Map
	prog  *ebpf.Program
	iter  *link.Iter
	key   [pacingKey]byte
	value [4]byte
}

// PacedFlow is a TCP connection of this host and the most that it may send.
type PacedFlow struct {
	Local, Remote netip.AddrPort
	Rate          ByteRate // 0: no bound
}

const (
	// pacedMost is how many subflows can be bounded at a time.
	pacedMost = 4096
	pacingKey = 20 // bytes: remote address, its port, local port
	unpaced   = 1<<32 - 1
)

// key is the flow as the program makes it of a socket.
func (f *PacedFlow) key() (k [pacingKey]byte) {
	a := f.Remote.Addr().As16() // IPv4 as the kernel maps it
	copy(k[:], a[:])
	binary.BigEndian.PutUint16(k[16:], f.Remote.Port())
	binary.NativeEndian.PutUint16(k[18:], f.Local.Port())
	return k
}

// NewSubflowPacing loads the program.
func NewSubflowPacing() (_ *SubflowPacing, err error) {
	p := &SubflowPacing{}
	defer func() {
		if err != nil {
			p.Close()
			err = &Error{Op: "bound subflows", Err: err}
		}
	}()
	if p.rates, err = ebpf.NewMap(&ebpf.MapSpec{Name: "braid_rates", Type: ebpf.Hash, KeySize: pacingKey, ValueSize: 4, MaxEntries: pacedMost}); err != nil {
		return nil, err
	}
	code, err := pacingProgram(p.rates.FD())
	if err != nil {
		return nil, err
	}
	p.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "braid_pacing", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp", License: pacingLicence, Instructions: code,
	})
	if err != nil {
		return nil, err
	}
	p.iter, err = link.AttachIter(link.IterOptions{Program: p.prog})
	return p, err
}

// pacingLicence is what the program tells the kernel. It calls nothing that is for
// GPL programs alone, but it reads struct sock_common, and without a GPL-compatible
// licence the verifier refuses that ("Cannot access kernel 'struct sock_common' from
// non-GPL compatible program", with "Apache-2.0" as with none). So the instructions
// that pacingProgram returns, and nothing else of braid, are offered under the MIT
// licence and under version 2 of the GPL as well, at the choice of whoever has them.
const pacingLicence = "Dual MIT/GPL"

// pacingProgram looks up each TCP socket, and sets its bound if it has one:
//
//	stack -20  key: remote address (16), remote port (2), local port (2)
//	stack -24  rate
func pacingProgram(rates int) (asm.Instructions, error) {
	offsets, err := commonOffsets("skc_family", "skc_dport", "skc_num", "skc_daddr", "skc_v6_daddr")
	if err != nil {
		return nil, err
	}
	family, dport, num, daddr, v6 := offsets[0], offsets[1], offsets[2], offsets[3], offsets[4]
	const key, rate = -20, -24
	return asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 8, asm.DWord), // struct bpf_iter__tcp.sk_common
		asm.JEq.Imm(asm.R7, 0, "end"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R1, asm.R7, family, asm.Half),
		asm.JEq.Imm(asm.R1, unix.AF_INET6, "six"),
		asm.StoreImm(asm.RFP, key, 0, asm.Word),
		asm.StoreImm(asm.RFP, key+4, 0, asm.Word),
		asm.StoreImm(asm.RFP, key+8, 0, asm.Half),
		asm.StoreImm(asm.RFP, key+10, 0xffff, asm.Half),
		asm.LoadMem(asm.R1, asm.R7, daddr, asm.Word),
		asm.StoreMem(asm.RFP, key+12, asm.R1, asm.Word),
		asm.Ja.Label("ports"),
		asm.LoadMem(asm.R1, asm.R7, v6, asm.Word).WithSymbol("six"),
		asm.StoreMem(asm.RFP, key, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, v6+4, asm.Word),
		asm.StoreMem(asm.RFP, key+4, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, v6+8, asm.Word),
		asm.StoreMem(asm.RFP, key+8, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, v6+12, asm.Word),
		asm.StoreMem(asm.RFP, key+12, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, dport, asm.Half).WithSymbol("ports"),
		asm.StoreMem(asm.RFP, key+16, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.R7, num, asm.Half),
		asm.StoreMem(asm.RFP, key+18, asm.R1, asm.Half),
		asm.LoadMapPtr(asm.R1, rates),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.StoreMem(asm.RFP, rate, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.Mov.Imm(asm.R2, unix.SOL_SOCKET),
		asm.Mov.Imm(asm.R3, unix.SO_MAX_PACING_RATE),
		asm.Mov.Reg(asm.R4, asm.RFP),
		asm.Add.Imm(asm.R4, rate),
		asm.Mov.Imm(asm.R5, 4),
		asm.FnSetsockopt.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	}, nil
}

// commonOffsets finds fields of struct sock_common, in bytes.
func commonOffsets(names ...string) ([]int16, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	var common *btf.Struct
	if err := kernel.TypeByName("sock_common", &common); err != nil {
		return nil, err
	}
	list := make([]int16, len(names))
	for i, name := range names {
		offset, ok := memberOffset(common.Members, name)
		if !ok {
			return nil, fmt.Errorf("struct sock_common has no %s", name)
		}
		list[i] = int16(offset)
	}
	return list, nil
}

// memberOffset looks into nameless structures and unions, too.
func memberOffset(members []btf.Member, name string) (bytes uint32, ok bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, ok := memberOffset(inner, name); ok {
			return m.Offset.Bytes() + at, true
		}
	}
	return 0, false
}

// Set bounds subflows, or sets them free where the rate is 0 or more than 34 Gb/s.
// What is not there any more is no error.
func (p *SubflowPacing) Set(list []PacedFlow) error {
	if len(list) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range list {
		rate := uint32(unpaced)
		if f.Rate > 0 && f.Rate < unpaced {
			rate = uint32(f.Rate)
		}
		p.key = f.key()
		binary.NativeEndian.PutUint32(p.value[:], rate)
		if err := p.rates.Put(p.key[:], p.value[:]); err != nil {
			return &Error{Op: "bound a subflow", Err: err}
		}
	}
	err := p.run()
	for _, f := range list {
		if p.key = f.key(); f.Rate == 0 {
			_ = p.rates.Delete(p.key[:])
		}
	}
	if err != nil {
		return &Error{Op: "bound subflows", Err: err}
	}
	return nil
}

// run has the kernel look at all of its TCP sockets.
func (p *SubflowPacing) run() error {
	r, err := p.iter.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Close gives everything back; bounds that are set stay with their sockets.
func (p *SubflowPacing) Close() {
	if p.iter != nil {
		p.iter.Close()
	}
	if p.prog != nil {
		p.prog.Close()
	}
	if p.rates != nil {
		p.rates.Close()
	}
}

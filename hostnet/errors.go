package hostnet

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Error is a refusal by the kernel with what the administrator can do about
// it. Err keeps the system's error for errors.Is.
type Error struct {
	Op   string // what was tried
	Err  error
	Mend string // one line without a full stop; may be empty
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the system's error.
func (e *Error) Unwrap() error { return e.Err }

// Hint says how to mend it, or "".
func (e *Error) Hint() string { return e.Mend }

// mendOf is the hint of an error, or "".
func mendOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Mend
	}
	return ""
}

// explain gives an error of the kernel its hint.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, err, mend(err)}
}

// hintOf is the hint of an error that may have one.
func hintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Mend
	}
	return ""
}

func mend(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "run braid as root, or with CAP_NET_ADMIN and write access to /proc/sys/net"
	case errors.Is(err, unix.EROFS):
		return "set it by hand where /proc/sys can be written: outside of the container, if this is one"
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV):
		return "the interface has just gone or gone down; it is tried again when that changes"
	}
	return ""
}

// explainNAT does the same for errors of nftables. Without the module behind
// it the kernel answers with one of several errors, depending on which module
// of the chain is absent.
func explainNAT(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, absent := range []unix.Errno{
		unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.EINVAL, unix.ENOPROTOOPT,
	} {
		if errors.Is(err, absent) {
			return &Error{op, err, "load nftables with \"modprobe -a nf_tables nft_masq nft_chain_nat nft_fib_inet nft_ct\", or do without: nat = false and no forward or reach on a server, masquerade = \"never\" on a client"}
		}
	}
	return explain(op, err)
}

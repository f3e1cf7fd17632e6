package lab

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// startThread runs a function on an operating system thread of its own, which
// dies when the function returns: what the function changes about its thread
// (namespace, scheduling, timer slack) goes with it.
//
// The process's first thread cannot die before the process; Go would park it
// for ever, in the changed namespace, and /proc/PID would show that namespace
// as the process's. It is therefore never used.
func startThread(run func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			started := make(chan struct{})
			startThread(func() { close(started); run() })
			<-started // until then the first thread is held, and cannot be drawn again
			runtime.UnlockOSThread()
			return
		}
		run() // returning with the thread locked ends the thread
	}()
}

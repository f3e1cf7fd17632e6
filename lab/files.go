package lab

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// OwnFiles gives the host folders /etc and /run of its own, in memory, which go with
// it: a copy of the machine's /etc as it is now, and an empty /run. Programs started
// from then on see them, and so do functions of Do. The machine's are as before.
func (h *Host) OwnFiles() error {
	return h.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("give host %s files of its own: %w", h.name, err)
		}
		if err := ownFiles(); err != nil {
			return fmt.Errorf("give host %s files of its own: %w", h.name, err)
		}
		return nil
	})
}

// ownFiles works on a thread that has a mount namespace of its own.
func ownFiles() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	copied, err := os.MkdirTemp("", "braid-lab-etc-")
	if err != nil {
		return err
	}
	defer os.Remove(copied) // an empty folder for all others, and here after the next mounts
	if err := unix.Mount("tmpfs", copied, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", copied, err)
	}
	if out, err := exec.Command("cp", "-a", "/etc/.", copied).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, quote(out))
	}
	if err := unix.Mount(copied, "/etc", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}

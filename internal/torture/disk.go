package torture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

const (
	// diskSize is the size of a node's file system, bytes; the file behind it is sparse.
	diskSize = 512 << 20
	// goingDown is EXT4_IOC_SHUTDOWN, and noLogFlush its argument that throws away what is
	// not synced, as a power cut does (fs/ext4/ioctl.c, include/uapi/linux/ext4.h).
	goingDown, noLogFlush = 0x8004587d, 2
	// ballast is the file that fills a disk.
	ballast = "ballast"
	// fillStep is how much of the disk is filled at once, bytes.
	fillStep = 1 << 20
)

// disk is a node's own ext4, in a file, mounted through a loop device (root).
type disk struct {
	image, dir string
	mounted    bool
}

// newDisk makes and mounts a file system at dir; an error says why this machine cannot.
func newDisk(image, dir string) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("mounting a file system for each node needs root")
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(diskSize), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make the file of a disk: %w", err)
	}
	if err := command("mkfs.ext4", "-q", "-m", "0", image); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a mount point: %w", err)
	}
	d := &disk{image: image, dir: dir}
	return d, d.mount()
}

func (d *disk) mount() error {
	err := command("mount", "-o", "loop", d.image, d.dir)
	d.mounted = err == nil
	return err
}

// cutPower throws away everything that is not synced. Nothing on the disk works after it
// until remount.
func (d *disk) cutPower() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	defer f.Close()
	how := uint32(noLogFlush)
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&how))); no != 0 {
		return fmt.Errorf("cut the power of %s: %w", d.dir, no)
	}
	return nil
}

// remount brings the power back: the file system's journal is replayed.
func (d *disk) remount() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	if err := command("umount", d.dir); err != nil {
		return err
	}
	d.mounted = false
	return nil
}

// fill takes all free space.
func (d *disk) fill() error {
	f, err := os.OpenFile(filepath.Join(d.dir, ballast), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	defer f.Close()
	for step := fillStep; step > 0; step /= 4 {
		block := make([]byte, step)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("fill a disk: %w", err)
		}
	}
	return nil
}

// free gives the space back, for good: a power cut must not bring the ballast back.
func (d *disk) free() error {
	return errors.Join(os.Remove(filepath.Join(d.dir, ballast)), d.sync())
}

// sync writes everything out, so that what is made before the faults is not their matter.
func (d *disk) sync() error { return command("sync", "-f", d.dir) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

package appliance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bounds of the checks of the machine. The node's own status warns at the same 5 %.
const (
	lowSpace   = 0.05                   // Share of the disk.
	noSpace    = 64 << 20               // Bytes; below it a node does not start.
	slowSync   = 100 * time.Millisecond // A write waits for one sync.
	stuckSync  = time.Second
	fewFiles   = 4096 // Three per open database, and connections.
	noFiles    = 1024
	lowMemory  = 256 << 20 // Bytes available.
	noMemory   = 64 << 20
	maxBadFile = 3 // Files that a finding names.
)

func (p *patient) checkFolder(context.Context) Check {
	info, err := os.Stat(p.cfg.Data)
	if err != nil {
		return found(Bad, "tongban config show --origin --config "+p.cfg.File, "the data folder %s cannot be used: %v", p.cfg.Data, err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return found(Warn, "", "this system does not say who owns %s", p.cfg.Data)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return found(Bad, "chmod 700 "+p.cfg.Data, "other users may look into %s (mode %04o)", p.cfg.Data, mode)
	}
	if uid := os.Geteuid(); uid != 0 && int(owner.Uid) != uid {
		return found(Bad, "runuser -u "+userName(owner.Uid)+" -- tongban doctor --config "+p.cfg.File, "%s belongs to user %s, not to the one who asks", p.cfg.Data, userName(owner.Uid))
	}
	foreign, err := foreignFiles(p.cfg.Data, owner.Uid)
	if err != nil {
		return found(Bad, "ls -lR "+p.cfg.Data, "%s cannot be looked through: %v", p.cfg.Data, err)
	}
	if len(foreign) > 0 {
		return found(Bad, fmt.Sprintf("chown -R %s: %s", userName(owner.Uid), p.cfg.Data),
			"files in the data folder do not belong to its owner, so the node cannot write them: %s", strings.Join(foreign, ", "))
	}
	return fine("%s is user %s's alone", p.cfg.Data, userName(owner.Uid))
}

func foreignFiles(dir string, uid uint32) ([]string, error) {
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // A running node removes files.
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != uid && len(list) < maxBadFile {
			list = append(list, path)
		}
		return nil
	})
	return list, err
}

func (p *patient) checkSpace(context.Context) Check {
	var st syscall.Statfs_t
	if err := p.o.Statfs(p.cfg.Data, &st); err != nil {
		return found(Bad, "df -h "+p.cfg.Data, "the disk of %s cannot be asked: %v", p.cfg.Data, err)
	}
	free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	text := fmt.Sprintf("%s free of %s", bytesText(int64(free)), bytesText(int64(total)))
	fix := "du -xh --max-depth=2 " + p.cfg.Data + " | sort -h | tail"
	switch {
	case free < noSpace:
		return found(Bad, fix, "the disk is full: %s; a node needs %s to start", text, bytesText(noSpace))
	case st.Files > 0 && st.Ffree < fewFiles:
		return found(Bad, "df -i "+p.cfg.Data, "the disk has only %d inodes left", st.Ffree)
	case float64(free) < lowSpace*float64(total):
		return found(Warn, fix, "the disk is almost full: %s", text)
	}
	return fine("%s", text)
}

func (p *patient) checkWrites(context.Context) Check {
	took, err := p.o.Sync(p.cfg.Data)
	fix := "dmesg --level=err,warn | tail -20"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return found(Bad, "chown -R tongban: "+p.cfg.Data, "%s cannot be written: %v", p.cfg.Data, err)
	case errors.Is(err, syscall.EROFS):
		return found(Bad, "mount -o remount,rw "+p.cfg.Data+"; "+fix, "%s is on a disk that is read-only now, often after a disk error", p.cfg.Data)
	case err != nil:
		return found(Bad, fix, "the disk does not take a small file: %v", err)
	case took > stuckSync:
		return found(Bad, fix, "a sync takes %s; every change waits for one", took.Round(time.Millisecond))
	case took > slowSync:
		return found(Warn, fix, "a sync takes %s, which is slow; every change waits for one", took.Round(time.Millisecond))
	}
	return fine("a sync takes %s", took.Round(10*time.Microsecond))
}

// timeSync writes a small file, syncs it, and removes it; the best of three counts.
func timeSync(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	best := time.Duration(-1)
	for range 3 {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		if took := time.Since(start); best < 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// unfit are file systems, by statfs's type, that lose data or have no proper locks.
var unfit = map[int64]string{
	0x01021994: "tmpfs, which forgets everything at a restart",
	0x858458f6: "ramfs, which forgets everything at a restart",
	0x6969:     "NFS, whose locks and syncs SQLite cannot rely on",
	0x517b:     "SMB, whose locks and syncs SQLite cannot rely on",
	0xfe534d42: "SMB, whose locks and syncs SQLite cannot rely on",
	0xff534d42: "CIFS, whose locks and syncs SQLite cannot rely on",
	0x4d44:     "FAT, which has no owners and tears writes",
}

func (p *patient) checkFileSystem(context.Context) Check {
	var st syscall.Statfs_t
	if err := p.o.Statfs(p.cfg.Data, &st); err != nil {
		return found(Bad, "df -h "+p.cfg.Data, "the disk of %s cannot be asked: %v", p.cfg.Data, err)
	}
	if why, ok := unfit[int64(st.Type)&0xffffffff]; ok {
		return found(Warn, "findmnt -T "+p.cfg.Data, "%s is on %s; move it to a local ext4 or xfs", p.cfg.Data, why)
	}
	return fine("a local file system (type %#x)", int64(st.Type)&0xffffffff)
}

func (p *patient) checkOpenFiles(context.Context) Check {
	pid, whose := os.Getpid(), "of this user"
	if p.status != nil {
		pid, whose = p.status.PID, "of the node"
	}
	limit, err := p.o.Limit(pid)
	fix := "ulimit -n 65536"
	if installed(p.cfg) {
		fix = "systemctl edit tongban   # [Service] LimitNOFILE=65536"
	}
	switch {
	case err != nil:
		return found(Warn, "cat /proc/"+strconv.Itoa(pid)+"/limits", "the limit of open files %s cannot be read: %v", whose, err)
	case limit < noFiles:
		return found(Bad, fix, "the limit %s is %d open files; every database takes three", whose, limit)
	case limit < fewFiles:
		return found(Warn, fix, "the limit %s is %d open files, which is low", whose, limit)
	}
	return fine("the limit %s is %d", whose, limit)
}

func openFileLimit(pid int) (uint64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if rest, ok := strings.CutPrefix(scan.Text(), "Max open files"); ok {
			soft := strings.Fields(rest)
			if len(soft) == 0 {
				break
			}
			if soft[0] == "unlimited" {
				return 1 << 62, nil
			}
			return strconv.ParseUint(soft[0], 10, 64)
		}
	}
	return 0, errors.New("it has no line for open files")
}

func (p *patient) checkMemory(context.Context) Check {
	available, total, err := p.o.Memory()
	text := fmt.Sprintf("%s available of %s", bytesText(int64(available)), bytesText(int64(total)))
	fix := "ps -eo rss,pid,comm --sort=-rss | head"
	switch {
	case err != nil:
		return found(Warn, "free -h", "the memory cannot be asked: %v", err)
	case available < noMemory:
		return found(Bad, fix, "the memory is used up: %s; the kernel will kill something", text)
	case available < lowMemory:
		return found(Warn, fix, "little memory is left: %s", text)
	}
	return fine("%s", text)
}

func readMemory() (available, total uint64, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "MemTotal":
			total = n << 10
		case "MemAvailable":
			available = n << 10
		}
	}
	if total == 0 {
		return 0, 0, errors.New("/proc/meminfo does not say")
	}
	return available, total, nil
}

// checkService compares what systemd runs with what this program would install.
func (p *patient) checkService(context.Context) Check {
	have, err := os.ReadFile(unitFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fine("no systemd unit is installed; the node is started by hand")
	case err != nil:
		return found(Warn, "ls -l "+unitFile, "the systemd unit cannot be read: %v", err)
	case string(have) != unitText(""):
		return found(Warn, "tongban install && systemctl daemon-reload", "the systemd unit is not the one of this program (%s)", unitFile)
	}
	if _, err := os.Lstat("/etc/systemd/system/multi-user.target.wants/" + unitName); err != nil {
		return found(Warn, "systemctl enable tongban", "the service does not start at boot")
	}
	return fine("%s starts at boot", unitName)
}

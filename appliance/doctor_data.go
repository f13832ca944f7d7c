package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"

	"tongban/node"
	"tongban/node/join"
	"tongban/replication"
	"tongban/tenancy"
)

func (p *patient) dial(ctx context.Context, to join.Peer) (net.Conn, error) {
	d := tls.Dialer{Config: p.dialer(to.ID)}
	return d.DialContext(ctx, "tcp", to.Address)
}

func (p *patient) checkLeaders(context.Context) Check {
	if p.status == nil {
		return fine("not asked: the node does not run")
	}
	var without []string
	for _, d := range p.status.Databases {
		if d.Leader == "" && d.Err == "" {
			without = append(without, string(d.Database))
		}
	}
	if len(without) > 0 {
		return found(Bad, "tongban status   # start the nodes that are down", "%d of %d databases have no leader, so that nothing can be changed in them: %s",
			len(without), len(p.status.Databases), some(without))
	}
	if len(p.status.Databases) == 0 {
		return found(Warn, "tongban status", "no database is open yet")
	}
	applications := 0
	for _, d := range p.status.Databases {
		if tenancy.IsApplication(d.Database) {
			applications++
		}
	}
	return fine("all %d databases have one, %d application databases among them", len(p.status.Databases), applications)
}

func (p *patient) checkReplicas(context.Context) Check {
	if p.status == nil {
		return fine("not asked: the node does not run")
	}
	var stopped, behind, rebuilding, doubt []string
	for _, d := range p.status.Databases {
		if d.Doubt != "" {
			doubt = append(doubt, d.Doubt)
		}
		switch {
		case d.Role == "rebuilding":
			rebuilding = append(rebuilding, fmt.Sprintf("%s (%s)", d.Database, d.Err))
		case d.Err != "":
			stopped = append(stopped, fmt.Sprintf("%s (%s)", d.Database, d.Err))
		case d.Lag != nil && *d.Lag > manyBehind:
			behind = append(behind, fmt.Sprintf("%s by %d entries", d.Database, *d.Lag))
		}
	}
	switch {
	case len(stopped) > 0:
		return found(Bad, "tongban node remove "+string(p.cfg.Node)+"   # on another box, then here: tongban join TOKEN --dir NEW",
			"%d replicas of this node have stopped: %s", len(stopped), some(stopped))
	case len(doubt) > 0:
		return found(Bad, "tongban verify DIR DIR   # the folders of the stopped nodes; then remove the one that is wrong, and join it anew", "%s", some(doubt))
	case len(rebuilding) > 0:
		return found(Warn, "tongban status   # start the nodes that are down: it takes another's copy", "%d replicas of this node are damaged and being rebuilt: %s",
			len(rebuilding), some(rebuilding))
	case len(behind) > 0:
		return found(Warn, "tongban status", "replicas of this node are behind their leader: %s", some(behind))
	}
	return fine("none has stopped or is far behind")
}

// some shows the first of a list.
func some(list []string) string {
	if len(list) <= maxBadFile {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:maxBadFile], ", ") + fmt.Sprintf(" and %d more", len(list)-maxBadFile)
}

// checkFiles checks the structure of a stopped node's database files. A running node's are
// being written, and it stops a replica whose file it cannot read.
func (p *patient) checkFiles(ctx context.Context) Check {
	if p.status != nil {
		return fine("not read: the node runs, and stops a replica that it cannot read")
	}
	files, err := filepath.Glob(filepath.Join(p.cfg.Data, "db", "*", "*", "state.db"))
	if err != nil || len(files) == 0 {
		return fine("there is none yet")
	}
	var broken []string
	for i, file := range files {
		if ctx.Err() != nil {
			return found(Warn, "tongban verify "+p.cfg.Dir(), "only %d of %d files were checked in the time", i, len(files))
		}
		rel, _ := filepath.Rel(filepath.Join(p.cfg.Data, "db"), filepath.Dir(file))
		why, err := checkFile(replication.DatabaseID(filepath.ToSlash(rel)), file)
		if errors.Is(err, replication.ErrInUse) {
			return found(Warn, "see node", "not read: a process has them open")
		}
		if why != "" {
			broken = append(broken, rel+": "+why)
		}
	}
	if len(broken) > 0 {
		return found(Bad, "tongban verify "+p.cfg.Dir()+"   # then join this box anew, or: tongban restore FILE --dir NEW",
			"%d of %d files are damaged: %s", len(broken), len(files), some(broken))
	}
	return fine("all %d are whole", len(files))
}

// checkFile says what is wrong with a file; err is why it could not be looked at.
func checkFile(id replication.DatabaseID, file string) (why string, err error) {
	f, err := replication.OpenFile(file)
	if err != nil {
		return err.Error(), err
	}
	defer f.Close()
	faults, err := checkStructure(f, "quick_check")
	if err == nil && len(faults) == 0 && !tenancy.IsApplication(id) {
		faults, err = checkForeignKeys(f)
	}
	switch {
	case err != nil:
		return err.Error(), err
	case len(faults) > 0:
		return faults[0], nil
	}
	return "", nil
}

// checkBackup looks for the note of the last backup in the division database.
func (p *patient) checkBackup(context.Context) Check {
	fix := "tongban backup /media/backup/tongban-" + p.o.Now().Format("20060102") + ".backup"
	note, err := p.lastBackup()
	age := p.o.Now().Sub(note.At)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found(Warn, fix, "there is nothing to back up yet")
	case err != nil:
		return found(Warn, fix, "it cannot be read when the last backup was made: %v", err)
	case note.At.IsZero():
		return found(Warn, fix, "the division was never backed up")
	case age > veryOldBackup:
		return found(Bad, fix, "the last backup is %s old (on node %s)", Age(note.At, p.o.Now()), note.Node)
	case age > oldBackup:
		return found(Warn, fix, "the last backup is %s old (on node %s)", Age(note.At, p.o.Now()), note.Node)
	case !note.Current:
		return found(Warn, fix, "the last backup, of %s, may lack changes: not every database had a leader", note.At.UTC().Format(time.RFC3339))
	}
	return fine("the last one is %s old: %d databases, %s", Age(note.At, p.o.Now()), note.Databases, bytesText(note.Bytes))
}

func (p *patient) lastBackup() (note node.BackupNote, err error) {
	if p.status != nil {
		if p.status.Newest.IsZero() {
			return note, errNotSaid
		}
		if p.status.Backup != nil {
			note = *p.status.Backup
		}
		return note, nil
	}
	f, err := replication.OpenFile(p.divisionFile())
	if err != nil {
		return node.BackupNote{}, err
	}
	defer f.Close()
	var tables int
	if err := f.QueryRow(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'service_meta'`).Scan(&tables); err != nil || tables == 0 {
		return node.BackupNote{}, err
	}
	return lastBackup(f)
}

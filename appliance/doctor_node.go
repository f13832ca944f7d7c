package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tongban/node/certs"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

// Bounds of the checks of the node.
const (
	soonCertificate = 30 * 24 * time.Hour
	soonAuthority   = 365 * 24 * time.Hour
	clockBehind     = time.Minute     // Behind the newest entry: the node does not start.
	clockApart      = 5 * time.Second // From another box.
	manyBehind      = 10_000          // Entries: what a moment of load explains.
	oldBackup       = 24 * time.Hour
	veryOldBackup   = 7 * 24 * time.Hour
	peerWait        = 3 * time.Second
)

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// identityFile says whose data a folder holds; package node writes it.
const identityFile = "node.json"

func (p *patient) checkIdentity(context.Context) Check {
	name := filepath.Join(p.cfg.Data, identityFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return found(Bad, "tongban config show --origin --config "+p.cfg.File, "%s is not the data folder of a node: %v", p.cfg.Data, err)
	}
	var m struct{ Division, Level, Node string }
	if err := json.Unmarshal(text, &m); err != nil {
		return found(Bad, "tongban restore FILE --dir NEW", "%s cannot be read: %v", name, err)
	}
	if m.Division != p.cfg.Division.Code || m.Level != p.cfg.Division.Level || m.Node != string(p.cfg.Node) {
		return found(Bad, "tongban config show --origin --config "+p.cfg.File, "the folder holds the data of node %s of %s %s, but the configuration says node %s of %s %s",
			m.Node, m.Level, m.Division, p.cfg.Node, p.cfg.Division.Level, p.cfg.Division.Code)
	}
	return fine("the folder is node %s's", m.Node)
}

func (p *patient) checkKeys(context.Context) Check {
	for _, name := range []string{"node.key", "tls/node-key.pem", "tls/ca-key.age", "tls/gossip.key"} {
		path := filepath.Join(p.cfg.Data, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			return found(Bad, "chmod 600 "+path, "%s is readable by other users (mode %04o)", path, info.Mode().Perm())
		}
	}
	keys, err := trust.Load(p.cfg.Data, trust.Division{Code: p.cfg.Division.Code, Level: p.cfg.Division.Level}, p.cfg.Node)
	if err != nil {
		return found(Bad, "tongban node remove "+string(p.cfg.Node)+"   # on another box, then join this one anew; or: tongban restore FILE --dir NEW", "%v", err)
	}
	certs.Restore(p.cfg.Data, keys)
	p.keys = keys
	return fine("all keys are there, belong together and are the node's alone")
}

func (p *patient) checkCertificate(context.Context) Check {
	if p.keys == nil {
		return found(Bad, "see keys", "the certificate cannot be read without the keys")
	}
	certificate := p.keys.TLS().Leaf
	now, end := p.o.Now(), certificate.NotAfter
	rejoin := "tongban node remove " + string(p.cfg.Node) + "   # on another box, then here: tongban join TOKEN --dir NEW"
	switch {
	case now.Before(certificate.NotBefore):
		return found(Bad, "timedatectl set-ntp true", "the certificate begins on %s, which is in the future; the clock is wrong", certificate.NotBefore.Format(time.DateOnly))
	case now.After(end) && now.Sub(end) <= trust.Grace:
		return found(Warn, p.start(), "the certificate of this node ended on %s, while the node was off; it is renewed as soon as the node runs and reaches the division's leader, at the latest on %s",
			end.Format(time.DateOnly), end.Add(trust.Grace).Format(time.DateOnly))
	case now.After(end):
		return found(Bad, rejoin, "the certificate of this node ended on %s, before the node could renew it; no other node talks to it (the only box of a division renews it at its start)", end.Format(time.DateOnly))
	case now.Add(soonCertificate).After(end):
		return found(Warn, p.start(), "the certificate of this node ends in %d days; a node that runs and reaches the division's leader renews it by itself", int(end.Sub(now).Hours()/24))
	}
	if err := p.keys.Check(now); err != nil {
		return found(Bad, rejoin, "the certificate is not one of this division: %v", err)
	}
	return fine("%d days left", int(end.Sub(now).Hours()/24))
}

func (p *patient) checkAuthority(context.Context) Check {
	if p.keys == nil {
		return found(Bad, "see keys", "the authority cannot be checked without the keys")
	}
	if _, err := p.keys.OpenAuthority(p.keys.Sealed); err != nil {
		return found(Bad, "tongban restore FILE --dir NEW", "the key of the division's authority cannot be opened: %v", err)
	}
	end := p.keys.Authority.NotAfter
	if now := p.o.Now(); now.Add(soonAuthority).After(end) {
		return found(Warn, "tongban backup FILE", "the division's authority ends on %s; plan its successor", end.Format(time.DateOnly))
	}
	return fine("the division's authority is valid until %s and its key opens", end.Format(time.DateOnly))
}

// checkClock compares the clock with the newest entry of the division database. A running
// node writes to it, so that only a clock that is behind shows.
func (p *patient) checkClock(context.Context) Check {
	now := p.o.Now()
	newest, err := p.newest()
	if errors.Is(err, fs.ErrNotExist) {
		return fine("%s; no entry to compare it with yet", now.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return found(Warn, "see database files", "the clock cannot be compared with the newest entry: %v", err)
	}
	if now.Before(newest.Add(-clockBehind)) {
		return found(Bad, "timedatectl set-ntp true", "the clock says %s, but the newest entry is from %s", now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	}
	return fine("%s, after the newest entry", now.UTC().Format(time.RFC3339))
}

// newest is the time of the newest entry of the division database. A running node keeps its
// files to itself, and says so in its status.
func (p *patient) newest() (time.Time, error) {
	if p.status != nil {
		if p.status.Newest.IsZero() {
			return time.Time{}, errNotSaid
		}
		return p.status.Newest, nil
	}
	f, err := replication.OpenFile(p.divisionFile())
	if err != nil {
		return time.Time{}, err
	}
	return f.Now(), f.Close()
}

// errNotSaid: the status lacks what the division database holds.
var errNotSaid = errors.New("the node runs, and cannot read its division database now")

func (p *patient) checkNode(context.Context) Check {
	if p.status != nil {
		return fine("it runs (pid %d, tongban %s) and answers", p.status.PID, p.status.Version)
	}
	if unlock, err := lockStopped(p.cfg.Data); err != nil {
		return found(Bad, "journalctl -u tongban -n 100", "a process has the data folder open, but does not answer: %v", p.asked)
	} else {
		unlock()
	}
	return found(Bad, p.start(), "it does not run")
}

// checkLastStop finds the admin socket of a node that was killed: an orderly stop removes
// it.
func (p *patient) checkLastStop(context.Context) Check {
	socket, _ := p.cfg.AdminSocket()
	if p.status != nil {
		return fine("the node runs")
	}
	if _, err := os.Lstat(socket); err == nil {
		return found(Warn, "journalctl -u tongban -n 100", "the node was killed, or the machine lost power: its socket is left (%s); the next start replays what is missing", socket)
	}
	return fine("the last stop was orderly")
}

func (p *patient) checkPorts(context.Context) Check {
	var taken []string
	port := ""
	for _, one := range []struct{ key, address string }{
		{"web.listen", p.cfg.Web.Listen}, {"peer.listen", p.cfg.Peer.Listen}, {"gossip.listen", p.cfg.Gossip.Listen}, {"link.listen", p.cfg.Link.Listen},
	} {
		l, err := net.Listen("tcp", one.address)
		if err == nil {
			_ = l.Close()
			if p.status != nil {
				return found(Bad, "systemctl restart tongban", "the node runs, but nobody listens at %s %s; was the configuration changed since its start?", one.key, one.address)
			}
			continue
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE) && p.status != nil:
			continue
		case errors.Is(err, syscall.EACCES) && p.status != nil:
			continue // A low port, which systemd gave to the node and not to us.
		}
		_, port, _ = net.SplitHostPort(one.address)
		taken = append(taken, fmt.Sprintf("%s %s: %v", one.key, one.address, errors.Unwrap(err)))
	}
	if len(taken) > 0 {
		return found(Bad, "ss -ltnp 'sport = :"+port+"'", "the node cannot listen: %s", strings.Join(taken, "; "))
	}
	if p.status != nil {
		return fine("the node holds its ports")
	}
	return fine("all are free")
}

// bookFile is the address book; package node keeps it.
const bookFile = "peers.json"

func (p *patient) peers() ([]join.Peer, error) {
	var book struct{ Peers []join.Peer }
	text, err := os.ReadFile(filepath.Join(p.cfg.Data, bookFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &book); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", bookFile, err)
	}
	var others []join.Peer
	for _, one := range book.Peers {
		if one.ID != p.cfg.Node {
			others = append(others, one)
		}
	}
	return others, nil
}

// checkPeers calls the node port of every other node, and compares the clocks.
func (p *patient) checkPeers(ctx context.Context) Check {
	others, err := p.peers()
	switch {
	case err != nil:
		return found(Bad, "rm "+filepath.Join(p.cfg.Data, bookFile)+"   # the node writes it anew", "%v", err)
	case len(others) == 0:
		return found(Warn, "tongban token   # then on the other boxes: tongban join TOKEN --dir DIR", "the division has this one node: when its disk dies, the last backup is all there is")
	case p.keys == nil:
		return found(Bad, "see keys", "nobody can be called without the keys")
	}
	var silent, apart []string
	address := ""
	for _, one := range others {
		at, err := p.call(ctx, one)
		if err != nil {
			silent, address = append(silent, fmt.Sprintf("%s (%s): %v", one.ID, one.Address, err)), one.Address
			continue
		}
		if skew := p.o.Now().Sub(at); skew.Abs() > clockApart+time.Second { // The other end says whole seconds.
			apart = append(apart, fmt.Sprintf("%s by %s", one.ID, skew.Abs().Round(time.Second)))
		}
	}
	switch host, port, _ := net.SplitHostPort(address); {
	case 2*len(silent) > len(others)+1 || len(silent) == len(others):
		return found(Bad, "nc -vz "+host+" "+port, "most nodes do not answer, nothing can be changed without a majority: %s", strings.Join(silent, "; "))
	case len(silent) > 0:
		return found(Warn, "nc -vz "+host+" "+port, "a node does not answer: %s", strings.Join(silent, "; "))
	case len(apart) > 0:
		return found(Warn, "timedatectl set-ntp true", "the clock differs from that of %s", strings.Join(apart, ", "))
	}
	return fine("%d other nodes answer, and their clocks agree", len(others))
}

// call asks another node's node port for anything, and returns the time that it says.
func (p *patient) call(ctx context.Context, to join.Peer) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, peerWait)
	defer cancel()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, to) }}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node/node/applied", nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return time.Time{}, err
	}
	defer response.Body.Close()
	return http.ParseTime(response.Header.Get("Date"))
}

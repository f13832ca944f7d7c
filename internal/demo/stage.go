package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"tongban/internal/demo/page"
	"tongban/internal/process"
)

// Stage is a tree that is filled and in use: items in a district of three boxes, whose cases
// all levels above count, and a window in another province that lodges cases for it.
type Stage struct {
	*Tree
	District *District
	Window   *District

	window *window
	offers []Offer
}

// StartStage starts the whole tree of four levels, and fills it with the demonstration
// catalog. On an error nothing is left running.
func StartStage(ctx context.Context, s Setting) (*Stage, error) {
	c, err := ReadCatalog("")
	if err != nil {
		return nil, err
	}
	t, err := StartTree(ctx, s, wholeTree())
	if err != nil {
		return nil, err
	}
	g := &Stage{Tree: t, District: t.At(shownCode), Window: t.At(windowCode)}
	if err := g.fill(ctx, c); err != nil {
		return nil, errors.Join(err, t.Close(s.Keep))
	}
	return g, nil
}

func (g *Stage) fill(ctx context.Context, c Catalog) error {
	if err := g.furnish(ctx); err != nil {
		return err
	}
	if err := g.importBasic(ctx, c); err != nil {
		return err
	}
	if err := g.District.CreateTenants(ctx, c); err != nil {
		return err
	}
	done, err := g.District.Import(ctx, c)
	if err != nil {
		return err
	}
	if err := g.District.awaitPublished(ctx, done.Published); err != nil {
		return err
	}
	offers, err := g.District.Offers(ctx, c)
	if err != nil {
		return err
	}
	g.offers = Spread(offers)
	g.window, err = g.openWindow(ctx, g.District, g.offers[0])
	return err
}

// Apply sends the n-th application to the district, under one key, until it is acknowledged.
func (g *Stage) Apply(ctx context.Context, n int) (Receipt, error) {
	return g.District.apply(ctx, newApplication(g.offers[n%len(g.offers)], fmt.Sprintf("辛%05d", n), n), g.District.urls, n)
}

// Lodged is a case that the window has lodged.
type Lodged struct{ one *lodged }

// Marker is in the applicant's name, and nobody else's.
func (l Lodged) Marker() string { return l.one.Marker }

// Lodge takes the n-th case at the window for the district, until that is acknowledged.
func (g *Stage) Lodge(ctx context.Context, n int) (Lodged, error) {
	one, err := g.window.lodge(ctx, g.District, g.offers[n%len(g.offers)], fmt.Sprintf("壬%05d", n), n)
	return Lodged{one}, err
}

// Delivered asks the window whether it has the district's receipt; why says why not yet.
func (g *Stage) Delivered(ctx context.Context, l Lodged) (done bool, why string, err error) {
	err = g.window.look(ctx, l.one)
	return l.one.state == page.Delivered, l.one.state + " " + l.one.reason(), err
}

// Levels are the district and all above it, the district first.
func (g *Stage) Levels() []*District { return g.above(g.District) }

// Applied is how many applications a division counts, its own and those of all below.
func (d *District) Applied(ctx context.Context) (int64, error) {
	page, err := d.figures(ctx)
	return page.Applied, err
}

// Markers are how many cases each applicant has on each node of the district, whose
// processes are stopped.
func (g *Stage) Markers() ([]map[string]int, error) {
	var out []map[string]int
	for _, n := range g.District.Nodes {
		files, err := casesOf(n.Config.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, files.markers)
	}
	return out, nil
}

// passphrase is the file with that of the division's backups.
func (d *District) passphrase() (string, error) {
	path := filepath.Join(d.Dir, "passphrase.txt")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("write the passphrase: %w", err)
	}
	_, err = f.WriteString(rand.Text() + "\n")
	return path, errors.Join(err, f.Close())
}

// Backup makes one of the division with the command that an operator uses, and returns its
// file. A node must run.
func (d *District) Backup(ctx context.Context) (string, error) {
	running := d.Running()
	if len(running) == 0 {
		return "", errNoNode
	}
	secret, err := d.passphrase()
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.Dir, fmt.Sprintf("%d.backup", time.Now().UnixNano()))
	_, err = process.Run(ctx, d.binary, "backup", file, "--config", running[0].Config.File, "--passphrase-file", secret)
	return file, err
}

// Restore kills the division's only node, as a fire does, and puts a box in its place, at
// the same addresses, that is restored from a backup. The old box never runs again.
func (d *District) Restore(ctx context.Context, backup string) error {
	if len(d.Nodes) != 1 {
		return fmt.Errorf("restore %s: it has %d nodes, not one", d.Division.Code, len(d.Nodes))
	}
	secret, err := d.passphrase()
	if err != nil {
		return err
	}
	old := d.Nodes[0]
	d.Kill(old)
	name := fmt.Sprintf("r%d", time.Now().UnixNano())
	dir := filepath.Join(d.Dir, name)
	if _, err := process.Run(ctx, d.binary, "restore", backup, "--dir", dir, "--passphrase-file", secret, "--yes",
		"--web", old.Config.Web.Listen, "--listen", old.Config.Peer.Listen, "--gossip", old.Config.Gossip.Listen,
		"--link", net.JoinHostPort("127.0.0.1", portOf(old.Config.Link.Listen))); err != nil {
		return err
	}
	old.Admin.Close()
	d.mu.Lock()
	d.Nodes = nil
	d.mu.Unlock()
	return d.add(ctx, name, dir)
}

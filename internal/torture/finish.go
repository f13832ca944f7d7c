package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tongban/internal/process"
	"tongban/internal/torture/mesh"
	"tongban/internal/torture/verdict"
	"tongban/replication"
)

const (
	// settlePatience bounds how long replicas may take to agree when all is whole.
	settlePatience = time.Minute
	// stuckPatience is the same when writes stand still: another look, no more.
	stuckPatience = 5 * time.Second
	// judgePatience bounds the judgement of one register.
	judgePatience = 30 * time.Second
)

// held is what one replica holds in the end.
type held struct {
	entries, requests map[string]int
	accounts          verdict.Accounts
	lists             map[string][]int64
}

// gaveUp says whether writes stand still for good.
func (r *run) gaveUp() bool {
	select {
	case <-r.stuck:
		return true
	default:
		return false
	}
}

// finish makes everything whole and judges the run. What replicas hold that never became
// equal is not compared with what was acknowledged, but the histories are judged all the same.
func (r *run) finish(ctx context.Context) error {
	before := r.gaveUp()
	err := r.settle(ctx)
	if err != nil {
		r.wrong("stuck: %v%s", err, r.cluster.states(ctx))
		if !before {
			close(r.stuck)
		}
	}
	r.report.Compared = err == nil
	all, err := r.readAll(ctx)
	if err != nil && r.report.Compared {
		return err
	}
	r.judge(all)
	if r.report.Compared {
		if err := r.verify(ctx); err != nil {
			return err
		}
	}
	r.conclude()
	return nil
}

// settle makes everything whole and waits until every replica has all that was committed.
func (r *run) settle(ctx context.Context) error {
	patience := settlePatience
	if r.gaveUp() {
		patience = stuckPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := r.cluster
	errs := []error{c.net.heal(false, everyWay(c)...)}
	for _, b := range c.boxes {
		if b.ended() {
			errs = append(errs, c.start(b))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	last := r.newClient(r.clients)
	var index uint64
	if err := c.await(ctx, "a last write", func() error {
		reply, err := last.try(last.any(), []statement{sql(`INSERT INTO session VALUES (-1, 1) ON CONFLICT (client) DO UPDATE SET n = n + 1`)})
		index = reply.Index
		return err
	}); err != nil {
		return err
	}
	for _, b := range c.boxes {
		if err := c.await(ctx, b.name+" has applied everything", func() error {
			s, err := c.status(ctx, b, database)
			if err == nil && uint64(s.Applied) < index {
				err = fmt.Errorf("%s is at %d of %d %s", b.name, s.Applied, index, s.Err)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func everyWay(c *cluster) []mesh.Way {
	return between(names(c.boxes), names(c.boxes))
}

// readAll reads every replica as it is, and returns those that answered.
func (r *run) readAll(ctx context.Context) (map[string]held, error) {
	patience := settlePatience
	if r.gaveUp() {
		patience = stuckPatience
	}
	all := map[string]held{}
	var errs []error
	for _, b := range r.cluster.boxes {
		short, cancel := context.WithTimeout(ctx, patience)
		h, err := readReplica(short, r.cluster.door(b, r.http[b.name]))
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("read the replica of %s: %w", b.name, err))
			continue
		}
		all[b.name] = h
	}
	return all, errors.Join(errs...)
}

func readReplica(ctx context.Context, d *door) (held, error) {
	h := held{entries: map[string]int{}, requests: map[string]int{}, lists: map[string][]int64{},
		accounts: verdict.Accounts{Balances: map[string]int64{}, Booked: map[string]verdict.Booked{}}}
	for _, q := range []struct {
		sql  string
		note func(row []any) error
	}{
		{`SELECT value, count(*) FROM entry GROUP BY value`, count(h.entries)},
		{`SELECT id, count(*) FROM request GROUP BY id`, count(h.requests)},
		{`SELECT id, balance FROM savings UNION ALL SELECT id, balance FROM checking`, func(row []any) (err error) {
			h.accounts.Balances[row[0].(string)], err = integer(row[1])
			return err
		}},
		{`SELECT id, source, target, amount, paid FROM transfer`, func(row []any) error {
			amount, err := integer(row[3])
			paid, err2 := integer(row[4])
			h.accounts.Booked[row[0].(string)] = verdict.Booked{From: row[1].(string), To: row[2].(string), Amount: amount, Paid: paid == 1}
			return errors.Join(err, err2)
		}},
		{`SELECT key, value FROM list ORDER BY rowid`, func(row []any) error {
			n, err := integer(row[1])
			h.lists[row[0].(string)] = append(h.lists[row[0].(string)], n)
			return err
		}},
	} {
		r, err := d.query(ctx, "none", 0, sql(q.sql))
		if err != nil {
			return h, err
		}
		for _, row := range r.Results[0].Values {
			if err := q.note(row); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// count notes how often a value is there.
func count(into map[string]int) func(row []any) error {
	return func(row []any) error {
		n, err := integer(row[1])
		into[row[0].(string)] = int(n)
		return err
	}
}

// judge compares what the clients were told with one another and with the replicas. Of
// replicas that never had everything it can be said what they must not hold, not what they lack.
func (r *run) judge(all map[string]held) {
	h := &r.histories
	inserts, requests, txns := h.inserts.all(), h.requests.all(), h.txns.all()
	entries, marks, lists := map[string]map[string]int{}, map[string]map[string]int{}, map[string]map[string][]int64{}
	bank := map[string]verdict.Accounts{}
	for node, one := range all {
		entries[node], marks[node], lists[node], bank[node] = one.entries, one.requests, one.lists, one.accounts
	}
	if r.report.Compared {
		txns = append(txns, r.lastTxn(lists))
	} else {
		inserts, requests, lists = unsettled(inserts), unsettled(requests), nil
	}
	for _, v := range []verdict.SetVerdict{verdict.Set("value", inserts, entries), verdict.Set("request", requests, marks)} {
		r.report.Lost += v.Lost
		r.report.Doubled += v.Doubled
		r.report.Violations = append(r.report.Violations, v.Wrong...)
	}
	found := slices.Concat(
		verdict.Bank(r.initial(), h.transfers.all(), h.balances.all(), bank),
		verdict.Lists(txns),
		verdict.Orders(lists),
		verdict.Session(h.visits.all()),
		r.judgeRegisters())
	r.report.Violations = append(r.report.Violations, found...)
}

// lastTxn reads all lists of one replica in the end; Orders compares the others with it.
func (r *run) lastTxn(lists map[string]map[string][]int64) verdict.Txn {
	last := verdict.Txn{Span: verdict.Span{Client: r.clients, Call: r.now(), Return: r.now(), Outcome: verdict.Done}}
	for _, node := range slices.Sorted(maps.Keys(lists))[:1] {
		for key, values := range lists[node] {
			last.Reads = append(last.Reads, verdict.ListRead{Key: key, Values: values})
		}
	}
	return last
}

// unsettled are insertions of which a replica may lack any.
func unsettled(list []verdict.Insert) []verdict.Insert {
	list = slices.Clone(list)
	for i := range list {
		if list[i].Outcome == verdict.Done {
			list[i].Outcome = verdict.Open
		}
	}
	return list
}

// judgeRegisters judges each register by itself.
func (r *run) judgeRegisters() []string {
	byKey, watched := map[string][]verdict.RegisterOp{}, map[string][]verdict.RegisterOp{}
	for _, op := range r.histories.registers.all() {
		byKey[op.Key] = append(byKey[op.Key], op)
	}
	for _, op := range r.histories.watched.all() {
		watched[op.Key] = append(watched[op.Key], op)
	}
	var found []string
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		found = append(found, verdict.Stale(key, byKey[key], watched[key])...)
		v := verdict.Register(key, byKey[key], judgePatience)
		found = append(found, v.Wrong...)
		if len(v.Wrong) > 0 {
			r.keepPage(key, v)
		}
	}
	r.report.Registers = len(byKey)
	return found
}

// verify stops the nodes in good order, the leader last, so that nobody takes over from it
// and writes, and lets the program itself compare their files.
func (r *run) verify(ctx context.Context) error {
	c, leader := r.cluster, r.cluster.leader(ctx)
	args := []string{"verify", "--json"}
	var followers []*process.Process
	for _, b := range c.boxes {
		args = append(args, b.dir)
		if b != leader {
			followers = append(followers, b.proc)
		}
	}
	for _, err := range []error{process.StopAll(followers), leader.proc.Stop()} {
		if err != nil {
			r.wrong("stop: %v", err)
		}
	}
	out, failed := process.Run(ctx, c.o.Binary, args...) // Its exit code also tells of other databases.
	var said struct {
		Verdict   string `json:"verdict"`
		Databases []struct {
			Database replication.DatabaseID `json:"database"`
			Verdict  string                 `json:"verdict"`
			Replicas []struct {
				Folder   string   `json:"folder"`
				Index    uint64   `json:"index"`
				Checksum string   `json:"checksum"`
				Faults   []string `json:"faults"`
			} `json:"replicas"`
			Notes []string `json:"notes"`
		} `json:"databases"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return errors.Join(failed, fmt.Errorf("read what verify said: %w", err))
	}
	const agree, notCompared = "agree", "not compared"
	for _, d := range said.Databases {
		if d.Verdict == agree && len(d.Replicas) == nodes {
			r.report.Equal = r.report.Equal || d.Database == database
			continue
		}
		if d.Database == database || d.Verdict != notCompared {
			r.wrong("unequal: the replicas of %s: %s: %v %+v", d.Database, d.Verdict, d.Notes, d.Replicas)
		}
	}
	return nil
}

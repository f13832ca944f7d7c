package federation

import (
	"context"
	"fmt"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// settle closes a mail with its receipt, in the transaction in which the kind's Settled
// takes note of it.
func (s *sender) settle(ctx context.Context, o service.Outgoing, r mailReceipt) error {
	kind, _ := s.f.kind(o.Kind)
	return s.env.DB.Update(ctx, func(tx *service.Tx) error {
		now, err := service.ReadOutgoing(tx, o.ID.Seq)
		if err != nil || now.State != service.MailWaiting { // Another leader was here.
			return err
		}
		if err := tx.Exec(`UPDATE service_outbox SET state = ?, reason = ?, at_division = '', settled = ?, receiver = ?, reply = ?
			WHERE seq = ?`, string(r.State), r.Reason, tx.Now(), r.Epoch, r.Reply, o.ID.Seq); err != nil {
			return err
		}
		if kind.Settled != nil {
			if err := kind.Settled(tx, o.Mail, service.Receipt{State: r.State, Reason: r.Reason, Reply: r.Reply, At: r.At}); err != nil {
				return err
			}
		}
		return tx.Record(service.Event{What: "federation.mail_" + string(r.State), Subject: mailSubject(o.Mail), Who: postman,
			Refused: r.Reason, Detail: map[string]string{"kind": o.Kind, "to": mailOrigin(o.To)}})
	})
}

// note writes down why one mail waits, if that is new.
func (s *sender) note(ctx context.Context, m *outgoing, a mailAnswer) {
	if m.reason == a.Stopped && m.where == a.At.String() {
		return
	}
	err := s.env.DB.Update(ctx, func(tx *service.Tx) error {
		return tx.Exec(`UPDATE service_outbox SET reason = ?, at_division = ?, tried = ? WHERE seq = ? AND state = 'waiting'`,
			a.Stopped, a.At.String(), tx.Now(), m.seq)
	})
	if err != nil {
		s.warn(ctx, "note why a mail waits", m, err)
		return
	}
	m.reason, m.where = a.Stopped, a.At.String()
}

// mark writes down why all mails to a division wait, if that is new.
func (s *sender) mark(ctx context.Context, to division.Ref, a mailAnswer) {
	var other []*outgoing
	for _, m := range s.waiting {
		if m.to == to && (m.reason != a.Stopped || m.where != a.At.String()) {
			other = append(other, m)
		}
	}
	for len(other) > 0 {
		some := other[:min(markRows, len(other))]
		err := s.env.DB.Update(ctx, func(tx *service.Tx) error {
			return tx.Exec(`UPDATE service_outbox SET reason = ?1, at_division = ?2, tried = ?3
				WHERE state = 'waiting' AND seq BETWEEN ?4 AND ?5 AND division = ?6 AND (reason <> ?1 OR at_division <> ?2)`,
				a.Stopped, a.At.String(), tx.Now(), some[0].seq, some[len(some)-1].seq, to.String())
		})
		if err != nil {
			s.warn(ctx, "note why mails wait", some[0], err)
			return
		}
		for _, m := range some {
			m.reason, m.where = a.Stopped, a.At.String()
		}
		other = other[len(some):]
	}
}

// compare looks whether the directory has new epochs of the divisions that mails went to.
// A new one is that of a division that was restored from a backup: what it received before
// is offered again, and what the backup had already is found in its inbox. A new entry is
// also a reason to try what was stopped for the want of it.
func (s *sender) compare(ctx context.Context) error {
	for to, l := range s.lines {
		_, epoch, err := s.entry(ctx, to)
		if err != nil || epoch == "" || epoch == l.epoch {
			continue // Not known, or not now: the mails that wait for it say so.
		}
		if err := s.reopen(ctx, to, epoch); err != nil {
			return err
		}
		l.epoch = epoch
		s.hurry(&to)
	}
	return nil
}

// reopen has mails wait again that were settled under another epoch of their receiver.
func (s *sender) reopen(ctx context.Context, to division.Ref, epoch string) error {
	for {
		var seqs []int64
		err := s.env.DB.View(ctx, replication.Local, func(v *service.View) error {
			rows, err := v.Query(`SELECT seq FROM service_outbox WHERE division = ?1 AND receiver < ?2 AND receiver > ''
				UNION ALL SELECT seq FROM service_outbox WHERE division = ?1 AND receiver > ?2 LIMIT ?3`, to.String(), epoch, markRows)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var seq int64
				if err := rows.Scan(&seq); err != nil {
					return err
				}
				seqs = append(seqs, seq)
			}
			return rows.Err()
		})
		if err != nil || len(seqs) == 0 {
			return err
		}
		s.env.Log.Info("offer mails again to a division that was restored", "to", to, "mails", len(seqs))
		if err := s.env.DB.Update(ctx, func(tx *service.Tx) error {
			for _, seq := range seqs {
				if err := tx.Exec(`UPDATE service_outbox SET state = 'waiting', reason = ?, at_division = ?, receiver = '' WHERE seq = ?`,
					stopRestored, to.String(), seq); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("offer mails again: %w", err)
		}
		s.after = 0
	}
}

package catalog

import (
	"tongban/replication"
	"tongban/service"
)

// ReleaseRepair publishes the repaired rows as items under their new codes; the old code
// is kept and still finds the item. A row whose new code an item has already, or that has
// come to lack something else, stays in quarantine and is in Held. Errors: ErrNoRepair,
// ErrRepairUndone, ErrNothingToDo.
func ReleaseRepair(tx *service.Tx, id int64, who service.Principal) (Repair, error) {
	r, err := ReadRepair(tx, id)
	if err != nil {
		return r, err
	}
	if r.State == repairUndone {
		return r, ErrRepairUndone
	}
	rows, err := rowsOfRepair(tx, id, stateRepaired)
	if err != nil {
		return r, err
	}
	released := 0
	for i := range rows {
		warning, err := release(tx, &rows[i])
		if err != nil {
			return r, err
		}
		if warning == "" {
			released++
			continue
		}
		r.Held = append(r.Held, Change{Row: rows[i].ID, Line: rows[i].Line, Name: rows[i].Name, OldBody: rows[i].Body,
			NewBody: rows[i].NewBody, OldCode: rows[i].Code, NewCode: rows[i].NewCode, Warnings: []Warning{warning}})
	}
	if released == 0 {
		return r, ErrNothingToDo
	}
	r.Released, r.State = r.Released+released, repairReleased
	if err := tx.Exec(`UPDATE catalog_repair SET released = ?, state = ? WHERE id = ?`, r.Released, r.State, id); err != nil {
		return r, err
	}
	if err := publishCounts(tx); err != nil {
		return r, err
	}
	return r, recordRepair(tx, "catalog.repair_released", id, released, who)
}

// WarnLacks: something other than the body's code keeps the row from being published.
const WarnLacks Warning = "lacks"

// release publishes one repaired row; a warning says why it cannot be.
func release(tx *service.Tx, r *Quarantined) (Warning, error) {
	if blocked(beyondBody(r.Reasons)) {
		return WarnLacks, nil
	}
	taken, err := itemExists(tx, r.NewCode)
	if taken || err != nil {
		return WarnTaken, err
	}
	it := itemOf(r.row, r.NewCode, r.NewBody)
	it.Notes, it.Repair = beyondBody(r.Reasons), r.Repair
	if r.Code != r.NewCode {
		it.Former = []string{r.Code}
		if err := tx.Exec(`INSERT OR REPLACE INTO catalog_former (code, item) VALUES (?, ?)`, r.Code, r.NewCode); err != nil {
			return "", err
		}
	}
	base := inherit(it.Name, it.MainItem)
	if err := writeItem(tx, it, hashOf(r.row), base, newEntry(it, base)); err != nil {
		return "", err
	}
	return "", tx.Exec(`UPDATE catalog_quarantine SET state = 'released', changed = ? WHERE id = ?`, tx.Now(), r.ID)
}

func rowsOfRepair(q service.Querier, id int64, states ...string) ([]Quarantined, error) {
	var out []Quarantined
	err := each(q, func(rows *replication.Rows) error {
		r, err := scanQuarantined(rows)
		for _, s := range states {
			if r.State == s {
				out = append(out, r)
			}
		}
		return err
	}, `SELECT `+quarantineColumns+` FROM catalog_quarantine WHERE repair = ? ORDER BY id`, id)
	return out, err
}

// UndoRepair takes the code away from the repair's rows again. It refuses when a later
// import has changed a row (ErrRepairChanged), and when rows are items now
// (ErrRepairReleased), unless takeBack says that these go back to quarantine as well,
// which in turn is refused when a case refers to one of them (ErrRepairInUse). Also:
// ErrNoRepair, ErrRepairUndone. A refusal changes nothing.
func UndoRepair(tx *service.Tx, id int64, takeBack bool, who service.Principal) (Repair, error) {
	r, err := ReadRepair(tx, id)
	if err != nil {
		return r, err
	}
	if r.State == repairUndone {
		return r, ErrRepairUndone
	}
	rows, err := rowsOfRepair(tx, id, stateRepaired, stateReleased)
	if err != nil {
		return r, err
	}
	if err := mayUndo(tx, r, rows, takeBack); err != nil {
		return r, err
	}
	for i := range rows {
		if rows[i].State == stateReleased {
			if err := withdraw(tx, rows[i].NewCode); err != nil {
				return r, err
			}
		}
		if err := tx.Exec(`UPDATE catalog_quarantine SET state = 'quarantined', repair = NULL, new_body = '', new_code = '', changed = ?
			WHERE id = ?`, tx.Now(), rows[i].ID); err != nil {
			return r, err
		}
	}
	if err := tx.Exec(`UPDATE catalog_repair SET state = ?, undone_by = ?, undone = ? WHERE id = ?`,
		repairUndone, who.Account, tx.Now(), id); err != nil {
		return r, err
	}
	if err := publishCounts(tx); err != nil {
		return r, err
	}
	if err := recordRepair(tx, "catalog.repair_undone", id, len(rows), who); err != nil {
		return r, err
	}
	return ReadRepair(tx, id)
}

func mayUndo(tx *service.Tx, r Repair, rows []Quarantined, takeBack bool) error {
	revs := map[int64]int64{}
	if err := each(tx, func(rows *replication.Rows) error {
		var row, rev int64
		err := rows.Scan(&row, &rev)
		revs[row] = rev
		return err
	}, `SELECT row, rev FROM catalog_repair_row WHERE repair = ?`, r.ID); err != nil {
		return err
	}
	changed, released, used := 0, 0, 0
	for i := range rows {
		row := &rows[i]
		same := row.rev == revs[row.ID]
		if row.State == stateReleased {
			released++
			var hash string
			var referred bool
			if err := tx.QueryRow(`SELECT hash, referred IS NOT NULL FROM catalog_item WHERE code = ?`, row.NewCode).
				Scan(&hash, &referred); err != nil {
				return err
			}
			same = same && hash == hashOf(row.row) // Else an import has published the item itself.
			if referred {
				used++
			}
		}
		if !same {
			changed++
		}
	}
	switch {
	case changed > 0:
		return ErrRepairChanged.With("rows", changed)
	case released > 0 && !takeBack:
		return ErrRepairReleased.With("rows", released)
	case used > 0:
		return ErrRepairInUse.With("items", used)
	}
	return nil
}

// withdraw takes an item out of the catalog and of search; the guide fields that the
// department filled are kept under its code.
func withdraw(tx *service.Tx, code string) error {
	if err := tx.Exec(`DELETE FROM catalog_former WHERE item = ?`, code); err != nil {
		return err
	}
	if err := tx.Exec(`DELETE FROM catalog_item WHERE code = ?`, code); err != nil {
		return err
	}
	return tx.Publish(feedItems, code, feedFormat, nil)
}

package catalog

import (
	"encoding/json"
	"fmt"

	"tongban/service"
)

// Limits of a guide's fields.
const (
	maxText      = 2000 // Characters of a text: a page.
	maxMaterials = 60   //
	maxDays      = 999  // Working days: four years.
	maxVisits    = 9
)

// Refusals of a guide.
var (
	ErrGuideInvalid = service.Refuse(service.Invalid, "catalog.guide_invalid")
	// ErrGuideStale: someone has saved another version since the form was opened.
	ErrGuideStale = service.Refuse(service.Conflict, "catalog.guide_stale")
)

// check returns a refusal that names the wrong fields, or nil. inherited is what fills
// the fields that g leaves open: a promise must not exceed the statutory limit, whoever
// it is from.
func (g *Guide) check(inherited Guide) error {
	err := ErrGuideInvalid
	for _, t := range []struct{ name, text string }{
		{"conditions", g.Conditions}, {"fee", g.Fee}, {"place", g.Place}, {"phone", g.Phone}, {"result", g.Result},
	} {
		if len([]rune(t.text)) > maxText {
			err = err.Field(t.name, "catalog.text_long").With("max", maxText)
		}
	}
	if g.Materials != nil && len(*g.Materials) > maxMaterials {
		err = err.Field("materials", "catalog.materials_many").With("most", maxMaterials)
	}
	if g.Statutory < 0 || g.Statutory > maxDays {
		err = err.Field("statutory", "catalog.days_wrong")
	}
	if g.Promise < 0 || g.Promise > maxDays {
		err = err.Field("promise", "catalog.days_wrong")
	}
	if g.Visits != nil && (*g.Visits < 0 || *g.Visits > maxVisits) {
		err = err.Field("visits", "catalog.visits_wrong")
	}
	statutory := g.Statutory
	if statutory == 0 {
		statutory = inherited.Statutory
	}
	if statutory > 0 && g.Promise > statutory {
		err = err.Field("promise", "catalog.promise_exceeds").With("statutory", statutory)
	}
	if len(err.Fields) > 0 {
		return err
	}
	return nil
}

// SaveGuide stores the fields that the department fills as a new version. version is the
// one that the form was opened with. It returns ErrNoItem, ErrGuideInvalid with the
// fields, or ErrGuideStale.
func SaveGuide(tx *service.Tx, code string, g Guide, version int, who service.Principal) (Item, error) {
	it, err := ReadItem(tx, code)
	if err != nil {
		return it, err
	}
	if it.Version != version {
		return it, ErrGuideStale.With("version", it.Version)
	}
	base := inherit(it.Name, it.MainItem)
	if err := g.check(base.guide); err != nil {
		return it, err
	}
	text, err := json.Marshal(g)
	if err != nil {
		return it, err
	}
	if err := tx.Exec(`INSERT INTO catalog_guide (item, version, guide, account, at) VALUES (?, ?, ?, ?, ?)`,
		it.Code, version+1, string(text), who.Account, tx.Now()); err != nil {
		return it, err
	}
	it.Version = version + 1
	it.fill(g, base)
	c := it.Guide.Completeness
	if err := tx.Exec(`UPDATE catalog_item SET own = ?, inherited = ?, missing = ?, changed = ? WHERE code = ?`,
		c.Own, c.Inherited, c.Missing, tx.Now(), it.Code); err != nil {
		return it, err
	}
	if err := publishEntry(tx, it, newEntry(it, base)); err != nil {
		return it, err
	}
	if err := publishCounts(tx); err != nil {
		return it, err
	}
	return it, tx.Record(service.Event{What: "catalog.guide_saved", Subject: it.Code, Who: who,
		Detail: map[string]string{"version": fmt.Sprint(it.Version)}})
}

package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

func TestApplicationDatabasesAreOpenedAndHaveNoTables(t *testing.T) {
	ten := start(t)
	if err := create(t, ten, "minzheng", "民政局"); err != nil {
		t.Fatal(err)
	}
	var made []replication.DatabaseID
	names := []string{"a", "b-1", "c_2"}
	for range 2 { // The second time they are there.
		if err := ten.Division().Update(t.Context(), func(tx *service.Tx) (err error) {
			made, err = tenancy.CreateDatabases(tx, "minzheng", names...)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if len(names) == 3 && len(made) != 3 || len(names) == 4 && !slices.Equal(made, []replication.DatabaseID{"minzheng/d"}) {
			t.Fatalf("made %v", made)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := ten.ReadyApplications(ctx, made...); err != nil {
			t.Fatal(err)
		}
		names = append(names, "d")
	}
	if n := ten.Applications(); n != 4 {
		t.Errorf("%d are open", n)
	}
	db, _ := ten.Application("minzheng/a")
	if err := db.View(t.Context(), replication.Local, func(v *service.View) error {
		var n int
		err := v.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'replication%'`).Scan(&n)
		if n != 0 {
			t.Errorf("%d tables are in it", n)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, ok := ten.Application("minzheng/main"); ok {
		t.Error("the main database is taken for one of an application")
	}
	if list := ten.Tenants(); len(list) != 1 {
		t.Errorf("the tenants are %v", list)
	}
}

func TestRefusedApplicationDatabases(t *testing.T) {
	ten := start(t)
	if err := create(t, ten, "minzheng", "民政局"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tenant, name string
		want         error
	}{
		{"minzheng", "main", tenancy.ErrBadDatabase}, {"minzheng", "", tenancy.ErrBadDatabase}, {"minzheng", "A", tenancy.ErrBadDatabase},
		{"minzheng", "a/b", tenancy.ErrBadDatabase}, {"minzheng", "..", tenancy.ErrBadDatabase}, {"minzheng", "_a", tenancy.ErrBadDatabase},
		{"minzheng", "a.b", tenancy.ErrBadDatabase}, {"minzheng", "王", tenancy.ErrBadDatabase}, {"minzheng", fmt.Sprintf("%041d", 0), tenancy.ErrBadDatabase},
		{"nobody", "a", tenancy.ErrTenantUnknown}, {"_division", "a", tenancy.ErrTenantUnknown}, {"", "a", tenancy.ErrTenantUnknown},
	} {
		err := ten.Division().Update(t.Context(), func(tx *service.Tx) error {
			_, err := tenancy.CreateDatabases(tx, c.tenant, "good", c.name)
			return err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s/%s: %v", c.tenant, c.name, err)
		}
	}
	var n int
	if view(t, ten, `SELECT count(*) FROM tenancy_database`, &n); n != 1 {
		t.Errorf("%d databases are in the directory", n)
	}
}

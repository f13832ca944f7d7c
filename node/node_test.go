package node_test

import (
	"testing"

	"go.uber.org/goleak"

	"tongban/node/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneNodeServesAndStartsAgain(t *testing.T) {
	c := nodetest.Division(t, 1)
	c.CreateTenant(0, "minzheng", "广安区民政局")
	c.Restart(0)
	var list struct {
		Tenants []struct {
			Slug string `json:"slug"`
		} `json:"tenants"`
	}
	c.Await("the tenant is there after a restart", func() bool {
		admin := c.Admin(0)
		defer admin.Close()
		return admin.Get(t.Context(), "/tenants", &list) == nil && len(list.Tenants) == 1 && list.Tenants[0].Slug == "minzheng"
	})
}

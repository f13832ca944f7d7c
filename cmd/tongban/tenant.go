package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"tongban/node/client"
	"tongban/service"
	"tongban/tenancy"
)

func newTenant(a *app) *cobra.Command {
	var codes []string
	create := a.addJSON(a.addDir(&cobra.Command{
		Use:     "create SLUG NAME",
		Short:   "Create a department",
		Example: "  tongban tenant create minzheng 广安区民政局 --code 11511301MB0X24873P",
		Args:    exactArgs("the slug (a-z, 0-9, -)", "the name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var t service.Tenant
				in := tenantRequest{Slug: args[0], Name: args[1], Codes: codes}
				if err := c.Post(cmd.Context(), "/tenants", in, &t); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(t)
				}
				fmt.Fprintf(a.out, "Department %s (%s) is number %d.\n", t.Name, t.Slug, t.Number)
				return nil
			})
		},
	}))
	create.Flags().StringSliceVar(&codes, "code", nil, "unified social credit code of the department; may be repeated")
	list := a.addJSON(a.addDir(&cobra.Command{
		Use:     "list",
		Short:   "List the departments",
		Example: "  tongban tenant list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var page tenancy.TenantList
				if err := c.Get(cmd.Context(), "/tenants", &page); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(page.Tenants)
				}
				t := table{head: []string{"NUMBER", "SLUG", "NAME", "STATE", "LEADER"}}
				for _, one := range page.Tenants {
					t.add(strconv.Itoa(one.Number), one.Slug, clean(one.Name), one.State, one.Leader)
				}
				t.print(a.out)
				return nil
			})
		},
	}))
	return group("tenant", "Create and list departments", create, list)
}

type tenantRequest struct {
	Slug  string   `json:"slug"`
	Name  string   `json:"name"`
	Codes []string `json:"codes,omitempty"`
}

// tenantPath is a path of a department.
func tenantPath(slug, rest string) string { return "/t/" + url.PathEscape(slug) + rest }

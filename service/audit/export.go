package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"tongban/service"
)

// maxExport is the largest number of rows in one file: about 30 MB, held in memory while
// it is sent.
const maxExport = 100_000

var errTooManyRows = service.Refuse(service.Unprocessable, "audit.too_many_rows")

// export sends the rows that the filter wants as one CSV file, the newest first, with a
// byte order mark, because spreadsheets take a file without one for GBK. More than
// maxExport rows are refused rather than cut off unseen.
func export(ctx context.Context, r *service.Request) (service.Response, error) {
	f, err := readFilter(r.Form)
	if err != nil {
		return service.Response{}, err
	}
	var b bytes.Buffer
	err = r.View(ctx, func(v *service.View) error { return writeCSV(&b, v, f, maxExport) })
	if err != nil {
		return service.Response{}, err
	}
	name := "audit-" + or(r.Tenant.Slug, r.Site.Code) + "-" + r.Now().In(beijing).Format("20060102-1504") + ".csv"
	return service.Response{File: &service.Download{Name: name, Type: "text/csv; charset=utf-8", Body: &b}}, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func writeCSV(b *bytes.Buffer, q service.Querier, f Filter, most int) error {
	b.Reset()
	b.WriteString("\uFEFF")
	w := csv.NewWriter(b)
	n := 0
	if err := w.Write([]string{"seq", "at", "what", "subject", "account", "kind", "refused", "detail", "hash"}); err != nil {
		return err
	}
	err := Read(q, f, most+1, func(r Row) error {
		if n++; n > most {
			return errTooManyRows.With("max", most)
		}
		return w.Write([]string{strconv.FormatInt(r.Seq, 10), r.At.In(beijing).Format(time.RFC3339Nano),
			safe(r.What), safe(r.Subject), safe(r.Account), safe(r.Kind), safe(r.Refused), safe(r.Detail), safe(r.Hash)})
	})
	if err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

// safe puts an apostrophe before a cell that a spreadsheet would run as a formula (OWASP,
// CSV Injection); full-width signs count, because spreadsheets in Chinese take them too.
func safe(cell string) string {
	if strings.ContainsAny(firstRune(cell), "=+-@\t\r\n＝＋－＠") && cell != "" {
		return "'" + cell
	}
	return cell
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

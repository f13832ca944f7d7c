package portal

// pageLink is one place in the row of page links; no Path: the page shown, no Number: a gap.
type pageLink struct {
	Number int
	Path   string
	Near   bool // Left out on narrow screens: not first, last or current.
}

type pageLinks struct {
	Page, Last        int
	First, To, Total  int // The rows shown, counted from 1.
	Previous, Forward string
	Links             []pageLink
}

// around is how many pages are shown on each side of the current one.
const around = 2

// pages builds the data of the component "pagination": links that keep the query.
func pages(p *Page, page, perPage, total int) (pageLinks, error) {
	if perPage < 1 {
		perPage = 1
	}
	last := max(1, (total+perPage-1)/perPage)
	page = min(max(page, 1), last)
	out := pageLinks{Page: page, Last: last, Total: total,
		First: min((page-1)*perPage+1, total), To: min(page*perPage, total)}
	link := func(n int) (string, error) {
		if n == 1 {
			return withQuery(p, "page", "")
		}
		return withQuery(p, "page", n)
	}
	var err error
	if page > 1 {
		if out.Previous, err = link(page - 1); err != nil {
			return out, err
		}
	}
	if page < last {
		if out.Forward, err = link(page + 1); err != nil {
			return out, err
		}
	}
	shown := 0
	for n := 1; n <= last; n++ {
		if n != 1 && n != last && (n < page-around || n > page+around) {
			continue
		}
		if shown != 0 && n > shown+1 {
			out.Links = append(out.Links, pageLink{})
		}
		shown = n
		one := pageLink{Number: n, Near: n != 1 && n != last && n != page}
		if n != page {
			if one.Path, err = link(n); err != nil {
				return out, err
			}
		}
		out.Links = append(out.Links, one)
	}
	return out, nil
}

package portal

import "net/http"

// A preference is a choice about how pages look. It is made by a link with a query
// parameter, which works without script and keeps the page, and is kept in a cookie of
// the same name. The first value is the default; nothing else is accepted.
var preferences = map[string][]string{
	"lang":  {Chinese, English},
	"theme": {"auto", "light", "dark"},
	"text":  {"normal", "large"},
}

// keepPreference is how long a choice is remembered, in seconds (one year).
const keepPreference = 365 * 24 * 3600

// chosen returns the value of a preference that the request carries.
func chosen(r *http.Request, name string) (string, bool) {
	if v := r.URL.Query().Get(name); accepted(name, v) {
		return v, true
	}
	if c, err := r.Cookie(name); err == nil && accepted(name, c.Value) {
		return c.Value, true
	}
	return preferences[name][0], false
}

func accepted(name, value string) bool {
	for _, v := range preferences[name] {
		if v == value {
			return true
		}
	}
	return false
}

// keep stores the choices that the address of a page carries.
func keep(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		return
	}
	query := r.URL.Query()
	for name := range preferences {
		if v := query.Get(name); accepted(name, v) {
			http.SetCookie(w, &http.Cookie{Name: name, Value: v, Path: "/", MaxAge: keepPreference,
				Secure: r.TLS != nil, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		}
	}
}

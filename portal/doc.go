// Package portal is the frame of every page: layout, assets, language, rendering. It
// knows no service; a service brings its pages and messages in its Definition.
//
// # Pages
//
// A page is a file of a service's Templates. It writes what stands inside <main>, with
// exactly one <h1>; the frame adds header, menu, breadcrumb, notice and error summary.
// Its dot is a [Page]: what the handler answered is {{.Data}}; {{$}} stays the Page
// inside range and with. One service's templates share their {{define}} names.
//
// Functions:
//
//	{{t "cases.title" "Count" .Data.N}}     message; its parameters as pairs
//	{{tn "cases.found" .Data.N}}            message in the plural of a count ({{.PluralCount}})
//	{{text .Data.Title}}                    message if it is a key, else the text itself
//	{{label "cases.state" .Data.State}}     message "cases.state.<value>", else the value
//	{{date x}} {{datetime x}} {{clock x}}   time.Time or Unix seconds in Asia/Shanghai; zero is "—"
//	{{number x}} {{percent 0.274}} {{code x}}   1,051   27.4%   <code>
//	{{path "/items/{}/apply" .Data.ID}}     a path with escaped segments
//	{{url "/items" "q" .Data.Q "page" 2}}   a path with an escaped query; zero values are left out
//	{{with_query $ "page" 2}}               this page's address with one value changed
//	{{key $}}                               the hidden idempotency key; in every form that posts
//	{{field $ "text" "name" "cases.name" "hint" "cases.name_hint" "value" .Data.Name}}
//	{{choice "a" "cases.kind.a"}}           one option of radios, checkboxes, select
//	{{args "Title" "x" "Path" "/y"}} {{list a b}}   data for the components below
//	{{lang}}                                zh-CN or en
//
// Kinds of field: text, number, email, tel, date, password, textarea, radios,
// checkboxes, select, file. Options of field: hint, value, choices (a list of choice, a
// []string, or the handler's slice of structs with Value and Text), required (false says
// "optional"), rows, width (2, 3, 4, 5, 10, 20 or 30 characters), prefix, suffix,
// autocomplete, inputmode, maxlength, accept, disabled. What the user typed and what is
// wrong with it come from the refused form by themselves ([View].Values, [View].Error).
//
// Components: {{template "name" data}} with the data in args:
//
//	heading     Title, Caption               the <h1>
//	search      Action, Label, Name ("q"), Value, Hint, Hot (list of args Title, Path)
//	tag         Text, Colour (green yellow red blue grey)
//	lamp        Days (working days left), Warn (yellow at or below)
//	meter       Label, Value, Max, Text, Colour
//	tile        Label, Value, Note, Colour   inside <dl class="tb-tiles">
//	card        Title, Path, Text, Foot, Tag, Colour   inside <ul class="tb-grid">
//	empty       Title, Text, Path, Action
//	tabs        Label, Tabs (list of args Title, Path, Current, Count)
//	pagination  pages $ page perPage total   (the function builds the data)
//	timeline    a slice whose elements have Title, State (done current todo bad), At, Note
//	summary     Rows (list of args Key, Value, Note)
//	notice      Text, Kind (success)
//	copy        a string; in code, with a button that copies it, shown where scripts run
//	print       nothing; a button that prints, shown where scripts run
//
// A table stands in <div class="tb-table" role="region" tabindex="0" aria-labelledby=…>
// and uses GOV.UK's govuk-table classes. Other classes: tb-panel, tb-columns, tb-hero,
// tb-filters, tb-receipt, tb-number, tb-actions, tb-muted, tb-caption.
//
// The Content-Security-Policy allows no inline script and no style attribute.
//
// # Messages
//
// active.zh.toml and active.en.toml hold the same keys with the same parameters; [New]
// refuses anything else, and a page that names a key nobody defines. The message of a
// refusal is the key of its Reason and says what is wrong; "<reason>_do", if there is
// one, says what to do.
//
// # Not here
//
// Who may see what is decided in package node, which fills a [View] and calls
// [Portal.Render].
package portal

// Package division knows the administrative divisions 行政区划 of the country: codes,
// levels, names, parents, validity and successors.
//
// A division is identified by its [Ref], (level, code): 东莞 441900 is a city and a
// county. [Lookup] finds what a code written by a person may mean, [ByRef] one division,
// [Children] and [Path] walk the tree, [Search] finds by name.
//
// # Source
//
// The embedded list is that of the National Bureau of Statistics of 2023 (as of
// 2023-06-30): 31 provinces, 342 cities, 2,978 counties, 41,352 townships. Two revisions
// of GB/T 2260 (2002-12, 2016-07) add what older documents carry; NOTICE names the
// origins. Changes after 2023-06-30 are not known here.
//
// # The tree is irregular
//
//   - 东莞, 中山 and 儋州 are a city and a county under one code; 嘉峪关 is city 620200 and
//     county 620201. Their townships belong to the county.
//   - 金门 is county 350527 and township 350527000 and has nothing else below it.
//   - Virtual divisions (市辖区 110100, 县 500200, 直辖县级 419000, 429000, 469000, 659000)
//     only group others in the code list. They can be looked up, but no division has one
//     as its parent, and they have none of their own in a path.
//   - 124 county codes xx71–xx79 are development zones that the Bureau counts as counties;
//     GB/T 2260 does not list them. [Division.Zone] tells.
//   - The cities of 659000 are those of the Production and Construction Corps 兵团.
//     Their parent here is the province 650000, like that of the others; the Corps' own
//     ranks have no codes and are not here.
//   - 台湾 710000, 香港 810000 and 澳门 820000 are outside the Bureau's list; they are
//     [Unlisted], not former, and nothing below them is listed.
//
// # Validity
//
// The three editions tell between which two of them a code appeared or vanished, not the
// day. What holds the ground of a former division now has two sources of unequal weight:
//
//   - successors.txt names it for 181 former divisions, all but eight with the year, from
//     decisions of the State Council that are common knowledge.
//   - For 316 former counties it is inferred from the names: the one county of today in
//     the same city (or the city's successor) with the same name but for its kind, 密云县
//     and 密云区, that no edition lists beside the former one. [Division.Inferred] tells,
//     and the year is unknown. The ground may have changed in part.
//
// For six former counties (邯郸县 130421, 永红区 230802, 九里区 320304, 城北区 450104, 永新区
// 450106, 市郊区 450411) and the former groups 市辖区 no successor is known, and none is
// guessed: [Division.Successors] is empty.
//
// A code may have been given to another division later (469025 was 定安县 in 2002 and is
// 白沙黎族自治县); [NameIn] has the name by edition.
//
// # Cost
//
// 245 KB in the binary. The first use decodes it in about 8 ms; the result holds 1.5 MB
// for the life of the process. A Lookup takes 0.2 to 0.8 µs, a Search 0.3 to 2 ms, the
// children of the nation 0.7 ms (benchmarks on one core of an AMD EPYC). Everything is safe
// for concurrent use and does no input or output.
package division

//go:generate go run ./internal/pack -out divisions.gz

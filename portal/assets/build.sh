#!/bin/sh
# Builds dist/ from the pinned packages of package-lock.json. Needs Node and npm; the Go
# build needs neither, because dist/ is committed.
set -eu
cd "$(dirname "$0")"

command -v npm >/dev/null || {
  echo "portal/assets: npm is missing; install Node 20 or newer (Debian: apt-get install nodejs npm)" >&2
  exit 1
}
npm ci --no-audit --no-fund --ignore-scripts

mkdir -p dist
npx --no-install sass --style=compressed --no-source-map --no-charset --quiet-deps \
  --load-path=node_modules scss/app.scss dist/app.css
# The maps' addresses point at files that are not served.
sed 's,//# sourceMappingURL=.*,,' node_modules/govuk-frontend/dist/govuk/govuk-frontend.min.js >dist/govuk-frontend.min.js
sed 's,//# sourceMappingURL=.*,,' node_modules/htmx.org/dist/htmx.min.js >dist/htmx.min.js
cp js/portal.js dist/portal.js
# Of ECharts only what chart.js draws with.
npx --no-install esbuild js/chart.js --bundle --minify --format=esm --target=es2020 --legal-comments=none \
  --log-level=warning --outfile=dist/chart.js
cp img/seal.svg dist/seal.svg

{
  echo "Licences of the third-party code in this folder."
  echo
  echo "== govuk-frontend $(node -p 'require("./node_modules/govuk-frontend/package.json").version') (govuk-frontend.min.js and parts of app.css)"
  echo "   https://github.com/alphagov/govuk-frontend; fonts, crown and coat of arms are not included."
  echo
  cat licences/govuk-frontend.txt
  echo
  echo "== htmx.org $(node -p 'require("./node_modules/htmx.org/package.json").version') (htmx.min.js)"
  echo "   https://github.com/bigskysoftware/htmx"
  echo
  cat node_modules/htmx.org/LICENSE
  echo
  echo "== echarts $(node -p 'require("./node_modules/echarts/package.json").version') (parts of chart.js)"
  echo "   https://github.com/apache/echarts"
  echo
  cat node_modules/echarts/NOTICE
  echo
  echo
  cat node_modules/echarts/LICENSE node_modules/echarts/licenses/LICENSE-d3
  echo
  echo "== zrender $(node -p 'require("./node_modules/zrender/package.json").version') (parts of chart.js)"
  echo "   https://github.com/ecomfe/zrender"
  echo
  cat node_modules/zrender/LICENSE
  echo
  echo
  echo "== tslib $(node -p 'require("./node_modules/tslib/package.json").version') (parts of chart.js)"
  echo "   https://github.com/microsoft/tslib"
  echo
  cat node_modules/tslib/LICENSE.txt
} >dist/LICENSES.txt

# The accessibility checker of the browser tests; never served.
cp node_modules/axe-core/axe.min.js ../portaltest/axe/axe.min.js
cat node_modules/axe-core/LICENSE node_modules/axe-core/LICENSE-3RD-PARTY.txt >../portaltest/axe/LICENSE

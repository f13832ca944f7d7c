// Draws the picture of each [data-chart]: JSON of {type: "days" or "bar", categories,
// series: [values]}, with the names of the series in data-names, divided by "|". The same figures stand in the table below it, which is what readers without
// scripts, and screen readers, use.
import * as echarts from "echarts/core";
import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

echarts.use([BarChart, LineChart, GridComponent, LegendComponent, TooltipComponent, CanvasRenderer]);

// Series are told apart by brightness and by line or bar, not by colour alone.
const colours = ["--tb-info", "--tb-good", "--tb-warn", "--tb-bad"];

function look() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    text: of("--tb-text"),
    muted: of("--tb-muted"),
    line: of("--tb-line"),
    surface: of("--tb-surface"),
    palette: colours.map(of),
    size: Math.round(parseFloat(getComputedStyle(document.body).fontSize) * 0.8),
    family: getComputedStyle(document.body).fontFamily,
  };
}

function option(data, names, l) {
  const text = { color: l.muted, fontSize: l.size, fontFamily: l.family };
  const across = data.type === "bar";
  const named = {
    type: "category",
    data: data.categories,
    axisLabel: { ...text, hideOverlap: true, ...(across ? { width: l.size * 9, overflow: "truncate" } : {}) },
    axisLine: { lineStyle: { color: l.line } },
    axisTick: { show: false },
    inverse: across,
  };
  const counted = {
    type: "value",
    minInterval: 1,
    axisLabel: { ...text, hideOverlap: true },
    splitLine: { lineStyle: { color: l.line } },
  };
  return {
    color: l.palette,
    textStyle: text,
    animation: false,
    grid: { left: 8, right: 24, top: l.size * 3, bottom: 8, containLabel: true },
    legend: { top: 0, left: 0, textStyle: { ...text, color: l.text }, itemWidth: 18 },
    // Drawn in the canvas: markup with styles of its own is against the page's policy.
    tooltip: {
      trigger: "axis",
      renderMode: "richText",
      confine: true,
      backgroundColor: l.surface,
      borderColor: l.line,
      textStyle: { ...text, color: l.text },
    },
    xAxis: across ? counted : named,
    yAxis: across ? named : counted,
    series: data.series.map((s, i) => ({
      name: names[i],
      data: s,
      type: across || i === 0 ? "bar" : "line",
      barMaxWidth: 22,
      symbolSize: 6,
      lineStyle: { width: 3 },
    })),
  };
}

function draw(element) {
  const data = JSON.parse(element.dataset.chart);
  element.hidden = false;
  if (data.type === "bar") {
    const size = [4, 10, 20].findIndex((most) => data.categories.length <= most);
    element.classList.add("tb-chart--" + (size < 0 ? 4 : size + 1));
  }
  const chart = echarts.init(element);
  const show = () => chart.setOption(option(data, element.dataset.names.split("|"), look()), true);
  show();
  new ResizeObserver(() => chart.resize()).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
}

for (const element of document.querySelectorAll("[data-chart]")) {
  draw(element);
}

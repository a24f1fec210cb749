//! Draws what came out, as SVG: latencies by percentile where there are latencies, else rates over
//! time.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::measure::Measured;
use crate::outcome::{merged, merged_of};
use crate::sample::Sample;
use crate::units::{duration, rate};
use crate::workload::Workload;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line of a plot.
struct Curve {
    label: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
    /// Radius of the dots that mark them.
    dots: u32,
}

/// The axis of percentiles, in nines, with a mark at each.
struct Nines(RangedCoordf64);

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, nines: &f64, limit: (i32, i32)) -> i32 {
        self.0.map(nines, limit)
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        (0..=self.range().end as u32).map(f64::from).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.range()
    }
}

impl ValueFormatter<f64> for Nines {
    /// A number of nines as a percentage: 0, 90, 99, 99.9.
    fn format(nines: &f64) -> String {
        let digits = (nines.round() as usize).saturating_sub(2);
        format!("{:.digits$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
    }
}

/// The file for one of several workloads: `FILE-workload.svg`.
pub(crate) fn file_for(file: &Path, workload: Workload) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{stem}-{}", workload.name());
    let extension = file.extension().unwrap_or("svg".as_ref());
    file.with_file_name(name).with_extension(extension)
}

/// Refuses a file that could not be written, before anything is measured.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    ensure!(
        folder.is_none_or(Path::is_dir) && !file.is_dir(),
        "a plot cannot be written to {}: its folder must exist, and it must be a file",
        file.display()
    );
    Ok(())
}

/// Draws what came out of a workload.
pub(crate) fn draw(file: &Path, workload: Workload, measured: &Measured) -> anyhow::Result<()> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let slices = &measured.slices;
    let ours = merged(slices.iter().map(|(_, sample)| sample));
    if let Some(ours) = ours {
        let mut curves = vec![percentiles(workload.name(), OURS, &ours)];
        let raw = merged(slices.iter().map(|(raw, _)| raw));
        curves.extend(raw.map(|raw| percentiles("raw limit", RAW, &raw)));
        let quiet = slices
            .iter()
            .filter_map(|(_, sample)| sample.quiet.as_ref());
        let quiet = merged_of(quiet).map(|quiet| percentiles("small calls alone", RAW, &quiet));
        curves.extend(quiet);
        draw_latencies(&area, workload, &curves)?;
    } else {
        let ours = rates(workload.name(), OURS, slices, |(_, sample)| sample);
        let raw = rates("raw limit", RAW, slices, |(raw, _)| raw);
        draw_rates(&area, workload, &[ours, raw])?;
    }
    area.present()?;
    drop(area);
    fs::write(file, svg).with_context(|| format!("{} cannot be written", file.display()))
}

/// Latency at each percentile, as far as there are samples enough to speak of it. The abscissa is
/// the number of nines: 1 is 90 %, 2 is 99 %.
fn percentiles(label: &str, colour: RGBColor, latencies: &Histogram<u64>) -> Curve {
    let nines = (latencies.len() as f64).log10().clamp(1.0, NINES_MAX);
    let steps = (nines * STEPS_PER_NINE).floor() as u32;
    let points = (0..=steps).map(|step| {
        let nines = f64::from(step) / STEPS_PER_NINE;
        let quantile = 1.0 - 10_f64.powf(-nines);
        (nines, latencies.value_at_quantile(quantile) as f64)
    });
    let median = duration(latencies.value_at_quantile(0.5) as f64);
    Curve {
        label: format!("{label}, median {median}"),
        colour,
        points: points.collect(),
        dots: 0,
    }
}

/// The rate of each slice over the time that was measured.
fn rates(
    label: &str,
    colour: RGBColor,
    slices: &[(Sample, Sample)],
    of: impl Fn(&(Sample, Sample)) -> &Sample,
) -> Curve {
    let mut passed = 0.0;
    let points = slices.iter().map(|slice| {
        let sample = of(slice);
        let begin = passed;
        passed += slice.0.time.as_secs_f64() + slice.1.time.as_secs_f64();
        (f64::midpoint(begin, passed), sample.rate())
    });
    Curve {
        label: label.to_owned(),
        colour,
        points: points.collect(),
        dots: 3,
    }
}

fn draw_latencies(area: &Area<'_>, workload: Workload, curves: &[Curve]) -> anyhow::Result<()> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let right = all().fold(1.0, |most, (x, _)| x.max(most));
    let low = all().fold(f64::MAX, |least, (_, y)| y.min(least)).max(1.0);
    let high = all().fold(low, |most, (_, y)| y.max(most));
    let (low, high) = (
        10_f64.powf(low.log10().floor()),
        10_f64.powf(high.log10().ceil()),
    );
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: {}", workload.name(), workload.about()), TITLE)
        .margin(MARGIN)
        .x_label_area_size(LABELS)
        .y_label_area_size(2 * LABELS)
        .build_cartesian_2d(Nines((0.0..right).into()), (low..high * 1.0001).log_scale())?;
    chart
        .configure_mesh()
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_desc("percentile")
        .y_desc("latency")
        .y_label_formatter(&|ns| duration(*ns))
        .draw()?;
    draw_curves(&mut chart, curves, SeriesLabelPosition::UpperLeft)
}

fn draw_rates(area: &Area<'_>, workload: Workload, curves: &[Curve]) -> anyhow::Result<()> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let right = all().fold(0.0, |most: f64, (x, _)| x.max(most)) * 1.05;
    let high = all().fold(0.0, |most: f64, (_, y)| y.max(most)) * 1.3;
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: {}", workload.name(), workload.about()), TITLE)
        .margin(MARGIN)
        .x_label_area_size(LABELS)
        .y_label_area_size(2 * LABELS)
        .build_cartesian_2d(0.0..right, 0.0..high)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_desc("time measured, in seconds")
        .y_desc("messages per second")
        .y_label_formatter(&|per_second| rate(*per_second))
        .draw()?;
    draw_curves(&mut chart, curves, SeriesLabelPosition::UpperRight)
}

fn draw_curves<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for curve in curves {
        let style = curve.colour.filled().stroke_width(2);
        let line = LineSeries::new(curve.points.iter().copied(), style);
        chart
            .draw_series(line.point_size(curve.dots))?
            .label(&curve.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + KEY, y)], style));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .legend_area_size(KEY + 8)
        .label_font(TEXT)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

/// In pixels.
const SIZE: (u32, u32) = (960, 600);
const MARGIN: u32 = 16;
const LABELS: u32 = 48;
/// A line in the legend.
const KEY: i32 = 24;

const TITLE: (&str, u32) = ("sans-serif", 20);
const TEXT: (&str, u32) = ("sans-serif", 14);

const OURS: RGBColor = RGBColor(0, 90, 181);
const RAW: RGBColor = RGBColor(220, 50, 32);

/// Beyond this many nines nobody looks.
const NINES_MAX: f64 = 6.0;

/// Points of a curve between, say, 99 % and 99.9 %.
const STEPS_PER_NINE: f64 = 40.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_percentages() {
        let cases = [
            (0.0, "0 %"),
            (1.0, "90 %"),
            (2.0, "99 %"),
            (3.0, "99.9 %"),
            (5.0, "99.999 %"),
        ];
        for (nines, text) in cases {
            assert_eq!(Nines::format(&nines), text);
        }
    }

    #[test]
    fn several_workloads_have_several_files() {
        let file = |text| file_for(Path::new(text), Workload::LaneTell);
        assert_eq!(file("a/b.svg"), Path::new("a/b-lane-tell.svg"));
        assert_eq!(file("b"), Path::new("b-lane-tell.svg"));
    }
}

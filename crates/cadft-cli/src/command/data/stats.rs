//! `cadft data stats`.

use crate::args::StatsArgs;
use crate::console::{Activity, count, next, percent};
use crate::model::{sources, tokenizer, warn_about_lost};
use crate::output;
use anyhow::Result;
use cadft_data::{Bar, SourceStats, Stats, TokenizeOptions, stats};
use cadft_files::visible_name;
use comfy_table::{CellAlignment, Table, presets};

/// Length of the longest bar in characters.
const WIDTH: usize = 40;

pub(crate) fn run(args: &StatsArgs) -> Result<()> {
    let sources = sources(&args.input.data, &args.input.source)?;
    let tokenizer = tokenizer(&args.input.model, args.input.adapter.as_deref())?;
    let tokenizer = args.template.tokenizer(tokenizer)?;
    let options = TokenizeOptions::new(args.max_length, args.mask.into());
    let counting = Activity::begin("reading and tokenising the data");
    let stats = stats(&sources, &tokenizer, &options)?;
    drop(counting);
    warn_about_lost(&stats.total.lost, stats.total.rows);
    if args.json {
        return output::json_line(&stats);
    }
    output::grid(&table(&stats))?;
    output::line(format!(
        "\nrows by length in tokens, before cutting to {}",
        count(stats.max_length)
    ))?;
    let most = stats.histogram.iter().map(|bar| bar.rows).max().unwrap_or(0);
    for bar in &stats.histogram {
        output::line(shown(bar, most, &stats))?;
    }
    next::looked_at(Some(args.input.given()), &args.input.data);
    Ok(())
}

/// One line for each source, and one for all if there are several.
fn table(stats: &Stats) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = [
        "source",
        "rows",
        "kept",
        "cut",
        "dropped",
        "duplicates",
        "tokens",
        "trained",
        "shortest",
        "median",
        "p90",
        "p99",
        "longest",
    ];
    table.set_header(header);
    let total = (stats.sources.len() > 1).then_some(&stats.total);
    for source in stats.sources.iter().chain(total) {
        table.add_row(cells(source));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cells(source: &SourceStats) -> Vec<String> {
    let lengths = &source.lengths;
    let numbers = [
        count(source.rows),
        count(source.kept),
        count(source.truncated),
        count(source.dropped.total()),
        count(source.duplicates),
        count(source.tokens),
        percent(source.supervised_share),
    ];
    let lengths = [lengths.min, lengths.p50, lengths.p90, lengths.p99, lengths.max].map(count);
    std::iter::once(visible_name(&source.path).into_owned())
        .chain(numbers)
        .chain(lengths)
        .collect()
}

/// A bar; the part above the maximum length consists of the tokens that are cut.
fn shown(bar: &Bar, most: usize, stats: &Stats) -> String {
    let digits = count(stats.histogram.last().map_or(0, |last| last.to)).len();
    let filled = (bar.rows * WIDTH).div_ceil(most.max(1));
    let block = if bar.from > stats.max_length { "░" } else { "█" };
    format!(
        "{:>digits$}–{:<digits$} {:<WIDTH$} {}",
        count(bar.from),
        count(bar.to),
        block.repeat(filled),
        count(bar.rows)
    )
}

//! The page. Owns: its text and its order. Everything that comes from a file is escaped; nothing is fetched.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plots::{self, Figure};
use super::read::{Found, Run};
use crate::plot::css_colour;

/// Timelines that are drawn; the text says how many are not.
const TIMELINES_MAX: usize = 6;
/// Distributions that are drawn.
const DISTRIBUTIONS_MAX: usize = 8;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:900px;margin:2rem auto;padding:0 1rem}\
h1{margin-bottom:0}h2{margin-top:2.5rem}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;font-size:12px;width:100%}th,td{padding:.2rem .3rem;border-bottom:1px solid #ddd;text-align:right}\
th:first-child,td:first-child{text-align:left}\
.note{color:#555;font-size:14px}.bar{display:flex;height:20px;background:#f2f2f2;margin-bottom:.5rem}.bar span{display:block}\
.key span{display:inline-block;width:12px;height:12px;margin:0 .3rem 0 1rem}.wide{overflow-x:auto}\
.claim{font-size:18px;border-left:4px solid #1f77b4;padding-left:1rem}";

/// The whole page.
pub(super) fn page(title: &str, found: &Found) -> anyhow::Result<String> {
    let title = escaped(title);
    let mut body = format!("<h1>{title}</h1>\n");
    if !found.runs.is_empty() {
        body += &programs(&found.runs)?;
    }
    if !found.batches.is_empty() {
        body += &batches(found)?;
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n"
    ))
}

fn programs(runs: &[Run]) -> anyhow::Result<String> {
    let labels = plots::labels(runs.iter().map(|run| &run.label));
    let mut text = format!(
        "<p class=\"note\">{} runs of LLM programs: agents and workflows whose calls depend on each other. A program is \
         complete when its last call has ended.</p>\n",
        runs.len()
    );
    text += &claim(runs, &labels);
    text += &incomplete(runs);
    text += "<h2>How long programs take as load rises</h2>\n<p>Left is idle, right is busy. A lower line is better. Bars \
             reach from the least to the most over seeds.</p>\n";
    text += &plots::against_rate(
        runs,
        &labels,
        ("/completion_s/mean", "mean completion time (s)"),
    )?;
    text +=
        "<p>The same for the slowest twentieth (95 % of programs take at most this long):</p>\n";
    text += &plots::against_rate(
        runs,
        &labels,
        ("/completion_s/p95", "p95 completion time (s)"),
    )?;
    text += &distributions(runs, &labels)?;
    text += &waits(runs);
    text += &timelines(runs)?;
    text += &table(runs);
    Ok(text)
}

/// What the busiest workload that all labels ran says, in a sentence.
fn claim(runs: &[Run], labels: &[&str]) -> String {
    let workloads = by_workload(runs);
    let of_all = |runs: &&Vec<&Run>| {
        labels
            .iter()
            .all(|l| runs.iter().any(|run| run.label == *l))
    };
    let rate = |runs: &[&Run]| runs.iter().map(|run| run.rate).sum::<f64>() / runs.len() as f64;
    let busiest = workloads.values().filter(of_all);
    let Some(busiest) = busiest.max_by(|a, b| rate(a).total_cmp(&rate(b))) else {
        return String::new();
    };
    let mean = |label: &str| {
        let of_label = busiest.iter().filter(|run| run.label == label);
        let means: Vec<f64> = of_label
            .filter_map(|run| run.figure("/completion_s/mean"))
            .collect();
        means.iter().sum::<f64>() / means.len().max(1) as f64
    };
    let mut means: Vec<(&str, f64)> = labels.iter().map(|label| (*label, mean(label))).collect();
    means.sort_by(|a, b| a.1.total_cmp(&b.1));
    let list: Vec<_> = means
        .iter()
        .map(|(label, mean)| format!("{} {mean:.2} s", escaped(label)))
        .collect();
    let ratio = match (means.first(), means.last()) {
        (Some(best), Some(worst)) if means.len() > 1 && worst.1 < 1.05 * best.1 => {
            " That is no difference to rely on.".to_owned()
        }
        (Some(best), Some(worst)) if means.len() > 1 && best.1 > 0.0 => {
            format!(
                " The slowest takes {:.2} times the fastest.",
                worst.1 / best.1
            )
        }
        _ => String::new(),
    };
    format!(
        "<p class=\"claim\">At {:.3} programs a second, a program takes in the mean: {}.{ratio}</p>\n",
        rate(busiest),
        list.join(", ")
    )
}

/// What the figures of completed programs do not say.
fn incomplete(runs: &[Run]) -> String {
    let sum = |at: &str| runs.iter().filter_map(|run| run.figure(at)).sum::<f64>();
    let kinds = ["unfinished", "refused", "failed"];
    let counts = kinds.map(|kind| (kind, sum(&format!("/programs/{kind}"))));
    let counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0.0).collect();
    if counts.is_empty() {
        return String::new();
    }
    let list: Vec<_> = counts
        .iter()
        .map(|(kind, count)| format!("{count:.0} {kind}"))
        .collect();
    format!(
        "<p><b>Not all programs completed: {}.</b> The table at the end says in which runs, and how they count.</p>\n",
        list.join(", ")
    )
}

fn by_workload(runs: &[Run]) -> BTreeMap<&str, Vec<&Run>> {
    let mut workloads: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        workloads.entry(&run.workload).or_default().push(run);
    }
    workloads
}

fn distributions(runs: &[Run], labels: &[&str]) -> anyhow::Result<String> {
    let workloads = by_workload(runs);
    let mut text = "<h2>How many programs are done by when</h2>\n<p>For each time, the share of programs that took at most \
                    that long. A line further left is better. A line that ends below 1 has programs that did not \
                    complete.</p>\n"
        .to_owned();
    for (workload, runs) in workloads.iter().take(DISTRIBUTIONS_MAX) {
        write!(
            text,
            "<p><b>{}</b></p>\n{}",
            escaped(workload),
            plots::completions(runs, labels)?
        )?;
    }
    text += &more(workloads.len(), DISTRIBUTIONS_MAX, "workloads");
    Ok(text)
}

/// Where calls waited, as bars whose whole is the longest of all runs.
fn waits(runs: &[Run]) -> String {
    let total = |run: &Run| run.waits().values().sum::<f64>();
    let longest = runs.iter().map(total).fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let mut reasons: Vec<&str> = runs
        .iter()
        .flat_map(|run| run.waits().into_keys())
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    let colour = |reason: &str| {
        let index = reasons.iter().position(|one| *one == reason);
        css_colour(index.unwrap_or_default())
    };
    let mut text = "<h2>What calls waited for</h2>\n<p>Time that calls of measured programs were ready and did not run, \
                    summed, by the router's reason. The longest bar sets the scale.</p>\n<p class=\"key\">"
        .to_owned();
    for reason in &reasons {
        text += &format!(
            "<span style=\"background:{}\"></span>{}",
            colour(reason),
            escaped(&reason.replace('_', " "))
        );
    }
    text += "</p>\n";
    for run in runs.iter().filter(|run| total(run) > 0.0) {
        text += &format!(
            "<div class=\"note\">{}: {:.1} s</div><div class=\"bar\">",
            name(run),
            total(run)
        );
        for (reason, seconds) in run.waits() {
            text += &format!(
                "<span style=\"width:{:.2}%;background:{}\" title=\"{}: {seconds:.1} s\"></span>",
                100.0 * seconds / longest,
                colour(reason),
                escaped(reason)
            );
        }
        text += "</div>\n";
    }
    text
}

fn timelines(runs: &[Run]) -> anyhow::Result<String> {
    let seen: Vec<_> = runs.iter().filter(|run| !run.looks.is_empty()).collect();
    if seen.is_empty() {
        return Ok(String::new());
    }
    let mut text = "<h2>What the engines did</h2>\n<p>Calls that each engine had in its batch, and calls that it held \
                    beyond that, over the run.</p>\n"
        .to_owned();
    // The busiest first: there is most to see.
    let mut busiest = seen.clone();
    busiest.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    for run in busiest.iter().take(TIMELINES_MAX) {
        let kv = run
            .looks
            .iter()
            .map(|look| look.kv_percent)
            .fold(0.0, f64::max);
        write!(
            text,
            "<p><b>{}</b>; KV cache in use: at most {kv:.0} %</p>\n{}",
            name(run),
            plots::timeline(&run.looks)?
        )?;
    }
    text += &more(seen.len(), TIMELINES_MAX, "runs");
    Ok(text)
}

fn table(runs: &[Run]) -> String {
    let columns = [
        ("programs", "/programs/measured", 0),
        ("completed", "/programs/completed", 0),
        ("unfinished", "/programs/unfinished", 0),
        ("refused", "/programs/refused", 0),
        ("failed", "/programs/failed", 0),
        ("mean s", "/completion_s/mean", 2),
        ("p50", "/completion_s/p50", 2),
        ("p95", "/completion_s/p95", 2),
        ("p99", "/completion_s/p99", 2),
        ("first token p50 s", "/ttft_s/p50", 3),
        ("p95", "/ttft_s/p95", 3),
        ("tokens/s", "/output_tokens_per_s", 1),
        ("cached", "/hit_rate", 2),
    ];
    let mut text =
        "<h2>All figures</h2>\n<div class=\"wide\"><table>\n<tr><th>label</th><th>rate</th>"
            .to_owned();
    for (title, ..) in columns {
        text += &format!("<th>{title}</th>");
    }
    text += "</tr>\n";
    for (workload, runs) in by_workload(runs) {
        let width = columns.len() + 2;
        text += &format!(
            "<tr><td colspan=\"{width}\"><b>{}</b></td></tr>\n",
            escaped(workload)
        );
        for run in runs {
            text += &format!(
                "<tr><td>{}</td><td>{:.3}</td>",
                escaped(&run.label),
                run.rate
            );
            for (_, at, digits) in columns {
                let figure = run.figure(at);
                let figure = figure.map_or("-".to_owned(), |figure| format!("{figure:.digits$}"));
                text += &format!("<td>{figure}</td>");
            }
            text += "</tr>\n";
        }
    }
    text += "</table></div>\n";
    let mut rules: Vec<&str> = runs
        .iter()
        .filter_map(|run| run.summary["censoring"].as_str())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    for rule in rules {
        text += &format!("<p class=\"note\">{}</p>\n", escaped(rule));
    }
    text
}

fn batches(found: &Found) -> anyhow::Result<String> {
    let studies = &found.batches;
    let mut text = "<h2>Batches</h2>\n<p>The same prompts, so many at once. A higher line makes more of the engine; bars are \
                    one standard deviation over runs.</p>\n"
        .to_owned();
    text += &plots::batches(studies, Figure::Speed)?;
    text += "<p>What a caller waits for one answer; lower is better.</p>\n";
    text += &plots::batches(studies, Figure::Latency)?;
    text += "<div class=\"wide\"><table>\n<tr><th>label</th><th>folder</th><th>at once</th><th>answered</th><th>failed</th>\
             <th>mean s</th><th>p95</th><th>first token s</th><th>p95</th><th>tokens/s</th></tr>\n";
    for study in studies {
        for level in &study.levels {
            text += &format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td>\
                 <td>{:.3}</td><td>{:.1}</td></tr>\n",
                escaped(&study.label),
                escaped(&study.folder),
                level.concurrency,
                level.answered,
                level.failed,
                level.latency_s.mean,
                level.latency_s.p95,
                level.ttft_s.mean,
                level.ttft_s.p95,
                level.output_tokens_per_s.mean,
            );
        }
    }
    text += "</table></div>\n";
    Ok(text)
}

/// A run's name for people.
fn name(run: &Run) -> String {
    let seed = run.summary["seed"].as_u64();
    let seed = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    format!(
        "{}, {:.3} programs a second{seed}",
        escaped(&run.label),
        run.rate
    )
}

fn more(all: usize, shown: usize, of: &str) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        left => {
            format!("<p class=\"note\">{left} more {of} are not drawn; the table has them.</p>\n")
        }
    }
}

/// Text that HTML takes for text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

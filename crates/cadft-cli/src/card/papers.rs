//! Where each objective comes from, as on the page of papers.

/// The title and arXiv number of the paper of an objective; `None` for one without a paper, such as the plain likelihood.
pub(super) fn of(objective: &str) -> Option<(&'static str, &'static str)> {
    Some(match objective {
        "cadft" => ("Compatibility-Aware Dynamic Fine-Tuning", "2606.11206"),
        "dft" => (
            "On the Generalization of SFT: A Reinforcement Learning Perspective with Reward Rectification",
            "2508.05629",
        ),
        "asft" => ("Anchored Supervised Fine-Tuning", "2509.23753"),
        "eaft" => (
            "Entropy-Adaptive Fine-Tuning: Resolving Confident Conflicts to Mitigate Forgetting",
            "2601.02151",
        ),
        "iw-sft" => (
            "Supervised Fine Tuning on Curated Data is Reinforcement Learning (and can be improved)",
            "2507.12856",
        ),
        "idft" => (
            "Towards On-Policy SFT: Distribution Discriminant Theory and its Applications in LLM Training",
            "2602.12222",
        ),
        "deft" => (
            "Gradients Must Earn Their Influence: Unifying SFT with Generalized Entropic Objectives",
            "2602.11424",
        ),
        "info-sft" => (
            "InfoSFT: Learn More and Forget Less with Information-Aware Token Weighting",
            "2605.14967",
        ),
        "chord-phi" => (
            "On-Policy RL Meets Off-Policy Experts: Harmonizing SFT and RL via Dynamic Weighting",
            "2508.11408",
        ),
        "profit" => (
            "ProFit: Leveraging High-Value Signals in SFT via Probability-Guided Token Selection",
            "2601.09195",
        ),
        "sed-sft" => (
            "SED-SFT: Selectively Encouraging Diversity in Supervised Fine-Tuning",
            "2602.07464",
        ),
        "talr" => (
            "SFT Doesn't Always Hurt General Capabilities: Revisiting Domain-Specific Fine-Tuning in LLMs",
            "2509.20758",
        ),
        "prift" => ("PriFT: Prior-Support Guided Supervised Fine-Tuning", "2606.09396"),
        "psft" => ("Proximal Supervised Fine-Tuning", "2508.17784"),
        "rho" => ("Rho-1: Not All Tokens Are What You Need", "2404.07965"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_core::AnyObjective;

    #[test]
    fn the_papers_are_those_of_the_page() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/papers.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut without = vec![];
        for name in AnyObjective::NAMES {
            match of(name) {
                Some((title, number)) => {
                    let row = page.lines().find(|line| line.contains(number)).unwrap();
                    assert!(row.contains(title), "{name}: {row}");
                }
                None => without.push(*name),
            }
        }
        assert_eq!(without, ["nll", "power", "kl-sft"]);
    }
}

//! How usual a mask is for its object: BiomedParse's p-value in closed form.
//!
//! Four statistics of the mask (mean probability, mean red, green and blue inside it, each over
//! 256) are compared with Beta distributions fitted on correct masks of the same bundle,
//! precision and object. The one-sample two-sided Kolmogorov-Smirnov test that BiomedParse runs
//! on each (`inference_utils/output_processing.py`, `check_mask_stats`) has for a single
//! observation the closed form `2 min(F(x), 1 - F(x))`; the four values are joined by their
//! geometric mean.
//!
//! The statistics are of the mask that is shown, so they take in the pixels of its edge from 127.5
//! of 255 on, where BiomedParse's begin at 128.

use statrs::function::beta::beta_reg;

/// Parameters of a Beta distribution on 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beta {
    alpha: f64,
    beta: f64,
}

impl Beta {
    /// A distribution; `None` unless both parameters are positive and finite.
    pub(crate) fn new(alpha: f64, beta: f64) -> Option<Self> {
        let good = |v: f64| v.is_finite() && v > 0.0;
        (good(alpha) && good(beta)).then_some(Self { alpha, beta })
    }

    /// Two-sided p-value of one observation.
    fn p_value(self, x: f64) -> f64 {
        let below = match x {
            x if x > 0.0 && x < 1.0 => beta_reg(self.alpha, self.beta, x),
            // 0 or 1, below or above, and NaN: as unusual as can be.
            _ => 0.0,
        };
        (2.0 * below.min(1.0 - below)).max(0.0)
    }
}

/// What correct masks of one object look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reference {
    /// Mean probability inside the mask, times 255 / 256.
    pub(crate) probability: Beta,
    /// Mean red, green and blue inside the mask, over 256.
    pub(crate) rgb: [Beta; 3],
}

impl Reference {
    /// Validity, 0 to 1, of a mask with this mean probability (0 to 1) and these mean colours
    /// (over 256). A value below 0.05 says that the mask is probably not of that object; NaN
    /// in, 0 out.
    pub(crate) fn validity(&self, mean_probability: f32, mean_rgb: [f32; 3]) -> f32 {
        let mut product = self
            .probability
            .p_value(f64::from(mean_probability) * 255.0 / 256.0);
        for (beta, value) in self.rgb.iter().zip(mean_rgb) {
            product *= beta.p_value(f64::from(value));
        }
        let validity = product.powf(0.25) as f32;
        if validity.is_finite() { validity } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests may panic")]

    use bedside_bundle::manifest::Presence;
    use bedside_core::Finding;
    use bedside_vision::{Letterbox, mask};
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::answer::{Answer, finding};
    use crate::prompts::Prepared;

    fn reference(betas: [(f64, f64); 4]) -> Reference {
        let [probability, r, g, b] = betas.map(|(a, b)| Beta::new(a, b).unwrap());
        Reference {
            probability,
            rgb: [r, g, b],
        }
    }

    /// BiomedParse's answers; `tests/golden/make.py` made them.
    #[derive(Deserialize)]
    struct Golden {
        values: Vec<Values>,
        masks: Vec<Picture>,
    }

    #[derive(Deserialize)]
    struct Values {
        probability: f32,
        rgb: [f32; 3],
        betas: [(f64, f64); 4],
        p: f32,
    }

    #[derive(Deserialize)]
    struct Picture {
        width: u32,
        height: u32,
        logits: Vec<f32>,
        /// Hexadecimal digits.
        pixels: String,
        betas: [(f64, f64); 4],
        /// Of a mask that is not empty.
        p: Option<f32>,
    }

    impl Picture {
        fn finding(&self, threshold: f32) -> Finding {
            let digits = self.pixels.as_bytes().chunks_exact(2);
            let byte = |d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap();
            let rgb: Vec<u8> = digits.map(byte).collect();
            let size = (self.height as usize, self.width as usize);
            // As many logits as pixels, so that nothing is enlarged.
            let side = self.width.max(self.height) as usize;
            let mut square = vec![-30.0; side * side];
            let top = (side - size.0) / 2;
            for (to, from) in square[top * side..]
                .chunks_mut(side)
                .zip(self.logits.chunks(size.1))
            {
                to[..size.1].copy_from_slice(from);
            }
            let letterbox = Letterbox::new(self.width, self.height, false);
            let prompt = Prepared {
                label: "thing".to_owned(),
                form: None,
                reference: Some(reference(self.betas)),
                presence: Presence {
                    slope: 1.0,
                    offset: 0.0,
                    threshold: 0.5,
                },
            };
            let answer = Answer {
                prompt: &prompt,
                logits: &square,
                presence: 1.0,
                meta_object: None,
                fit: None,
                withheld: None,
            };
            let inside = mask::from_logits(
                &square,
                (side, side),
                &letterbox,
                threshold,
                &rgb,
                Vec::new(),
            );
            finding(&answer, Some(inside))
        }
    }

    #[test]
    fn p_06_validity_is_that_of_the_reference() {
        let golden = include_str!("../tests/golden/validity.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        assert!(golden.values.len() >= 60 && golden.masks.len() >= 6);
        for case in &golden.values {
            let got = reference(case.betas).validity(case.probability, case.rgb);
            assert!((got - case.p).abs() <= 1e-6, "{got} for {}", case.p);
        }
        for picture in &golden.masks {
            // Over BiomedParse's pixels, and over those of the mask as it is shown.
            for (threshold, off) in [((128.0_f32 / 127.0).ln(), 1e-5), (0.0, 1e-2)] {
                let found = picture.finding(threshold);
                assert_eq!(found.present, picture.p.is_some(), "an empty mask is none");
                assert_eq!(found.validity.is_some(), picture.p.is_some());
                let (got, expected) = (found.validity.unwrap_or(0.0), picture.p.unwrap_or(0.0));
                assert!((got - expected).abs() <= off, "{got} for {expected}");
            }
        }
    }

    #[test]
    fn a_saturated_mask_is_unusual_where_masks_are_soft() {
        let soft = reference([(3000.0, 63.0), (14.0, 50.0), (14.0, 50.0), (14.0, 50.0)]);
        assert!(soft.validity(1.0, [0.212; 3]) < 0.05);
        assert_eq!(soft.validity(f32::NAN, [0.2; 3]), 0.0);
        assert!(Beta::new(0.0, 1.0).is_none() && Beta::new(f64::NAN, 1.0).is_none());
    }

    proptest! {
        #[test]
        fn validity_stays_between_zero_and_one(
            a in 0.01..5000.0f64, b in 0.01..5000.0f64, p in -1.0..2.0f32, c in -1.0..2.0f32,
        ) {
            let v = reference([(a, b), (b, a), (a, a), (b, b)]).validity(p, [c, p, c]);
            prop_assert!((0.0..=1.0).contains(&v));
        }
    }
}

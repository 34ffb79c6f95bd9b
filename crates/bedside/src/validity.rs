//! How usual a mask is for its object: BiomedParse's p-value in closed form.
//!
//! Four statistics of the mask (mean probability, mean red, green and blue inside it, each over
//! 256) are compared with Beta distributions fitted on correct masks of the same bundle,
//! precision and object. The one-sample two-sided Kolmogorov-Smirnov test that BiomedParse runs
//! on each (`inference_utils/output_processing.py`, `check_mask_stats`) has for a single
//! observation the closed form `2 min(F(x), 1 - F(x))`; the four values are joined by their
//! geometric mean.

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
    use proptest::prelude::*;

    use super::*;

    fn reference(betas: [(f64, f64); 4]) -> Reference {
        let [probability, r, g, b] = betas.map(|(a, b)| Beta::new(a, b).unwrap());
        Reference {
            probability,
            rgb: [r, g, b],
        }
    }

    /// scipy 1.x: `kstest([x], beta(a, b).cdf).pvalue`, product to the power 1/4.
    #[test]
    fn validity_agrees_with_scipy() {
        let wide = [(120.0, 2.5), (9.0, 2.0), (7.0, 6.0), (5.0, 8.0)];
        let cases = [
            (wide, [0.979, 0.80, 0.53, 0.40], 0.8394863275407548),
            (wide, [0.90, 0.80, 0.53, 0.40], 0.10912086771672203),
            (
                [(40.0, 1.5), (3.0, 7.0), (3.0, 7.0), (3.0, 7.0)],
                [0.95, 0.3, 0.3, 0.3],
                0.7918768475088312,
            ),
            (
                [(2.0, 2.0), (2.0, 5.0), (0.5, 0.5), (1.0, 1.0)],
                [0.5, 0.1, 0.9, 0.25],
                0.46514211322796606,
            ),
        ];
        for (betas, [p, r, g, b], expected) in cases {
            let mean_probability = (p * 256.0 / 255.0) as f32;
            let got = reference(betas).validity(mean_probability, [r as f32, g as f32, b as f32]);
            assert!(
                (f64::from(got) - expected).abs() < 1e-4,
                "{got} for {expected}"
            );
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

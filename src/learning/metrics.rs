//! What a run over several tasks is judged by: the whole task-by-task matrix, average accuracy, backward transfer. Knows accuracies
//! only.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// `R[i][j]`: test accuracy on task j after learning tasks 0..=i (fraction; Lopez-Paz & Ranzato 2017, "Gradient episodic memory").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskMatrix {
    /// Row i has tasks 0..=i at least, parts of 1; rows have one length.
    pub accuracy: Vec<Vec<f64>>,
}

impl TaskMatrix {
    /// The row after one more task: accuracy on every task tested. Refused when shorter than the tasks learned, of another
    /// length than the rows before, or outside 0..=1.
    pub fn push(&mut self, row: Vec<f64>) -> Result<()> {
        let learned = self.accuracy.len() + 1;
        let tasks = self.accuracy.first().map_or(row.len(), Vec::len);
        if row.len() != tasks || row.len() < learned || row.iter().any(|a| !(0.0..=1.0).contains(a)) {
            return Err(Error::input(
                format!("task matrix: row {learned} is {row:?}"),
                format!("give one accuracy in 0..=1 for each of the {} tasks", tasks.max(learned)),
            ));
        }
        self.accuracy.push(row);
        Ok(())
    }

    /// Tasks learned so far.
    pub fn tasks(&self) -> usize {
        self.accuracy.len()
    }

    /// Mean accuracy over the tasks learned, after the last of them (ACC); NaN before the first.
    pub fn acc(&self) -> f64 {
        let Some(last) = self.accuracy.last() else { return f64::NAN };
        last[..self.tasks()].iter().sum::<f64>() / self.tasks() as f64
    }

    /// Mean change of a task's accuracy between its own end and the end of all (BWT; negative is forgetting); 0 for one task.
    pub fn bwt(&self) -> f64 {
        self.mean_before_last(|task, last| last[task] - self.accuracy[task][task])
    }

    /// Mean fall from a task's best accuracy so far (Chaudhry et al. 2018); 0 for one task.
    pub fn forgetting(&self) -> f64 {
        self.mean_before_last(|task, last| {
            self.accuracy[task..self.tasks() - 1].iter().map(|row| row[task]).fold(f64::MIN, f64::max) - last[task]
        })
    }

    /// Mean gain on a task just before it is learned, over `untrained` accuracies (FWT); None where rows stop at the diagonal.
    pub fn fwt(&self, untrained: &[f64]) -> Option<f64> {
        let tasks = self.tasks();
        if tasks < 2 || untrained.len() < tasks || self.accuracy[0].len() < tasks {
            return None;
        }
        Some((1..tasks).map(|t| self.accuracy[t - 1][t] - untrained[t]).sum::<f64>() / (tasks - 1) as f64)
    }

    fn mean_before_last(&self, of: impl Fn(usize, &[f64]) -> f64) -> f64 {
        match (self.accuracy.last(), self.tasks()) {
            (Some(last), tasks) if tasks > 1 => (0..tasks - 1).map(|t| of(t, last)).sum::<f64>() / (tasks - 1) as f64,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_case() {
        let mut m = TaskMatrix::default();
        assert!(m.acc().is_nan());
        m.push(vec![0.9, 0.2, 0.1]).unwrap();
        assert_eq!((m.acc(), m.bwt(), m.forgetting()), (0.9, 0.0, 0.0));
        m.push(vec![0.95, 0.8, 0.3]).unwrap();
        m.push(vec![0.7, 0.85, 1.0]).unwrap();
        assert!((m.acc() - 0.85).abs() < 1e-12);
        assert!((m.bwt() - (-0.2 + 0.05) / 2.0).abs() < 1e-12);
        assert!((m.forgetting() - (0.25 - 0.05) / 2.0).abs() < 1e-12);
        assert!((m.fwt(&[0.1; 3]).unwrap() - 0.15).abs() < 1e-12);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let mut m = TaskMatrix::default();
        assert!(m.push(vec![]).is_err() && m.push(vec![1.2]).is_err() && m.push(vec![f64::NAN]).is_err());
        m.push(vec![0.5]).unwrap();
        assert!(m.push(vec![0.5]).is_err() && m.push(vec![0.5, 0.5]).is_err());
    }
}

//! Budgets: how much of one kind of work may go on at once, in all and for one client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The budget.
    All,
    /// The share of the client.
    Client,
}

/// A number of places, of which one client gets a share only.
#[derive(Debug)]
pub struct Budget {
    places: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    clients: HashMap<Arc<str>, usize>,
}

impl Budget {
    /// A budget of `places`, `percent` of them for one client, but never none.
    pub fn new(places: usize, percent: u8) -> Arc<Self> {
        let share = (places * usize::from(percent) / 100).max(1);
        Arc::new(Self { places, share, taken: Mutex::default() })
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.places
    }

    /// How many of them one client gets.
    pub fn share(&self) -> usize {
        self.share
    }

    /// A place, for as long as the permit lives. `client`: whose share it comes from, when that is known.
    pub fn take(self: &Arc<Self>, client: Option<&Arc<str>>) -> Result<Permit, Full> {
        {
            let mut taken = self.taken.lock();
            if taken.all >= self.places {
                return Err(Full::All);
            }
            taken.all += 1;
        }
        let mut permit = Permit { budget: self.clone(), client: None };
        if let Some(client) = client {
            permit.charge(client)?;
        }
        Ok(permit)
    }
}

/// A place in a budget.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    client: Option<Arc<str>>,
}

impl Permit {
    /// Takes the place from the share of a client, when it is not taken from one's yet.
    pub fn charge(&mut self, client: &Arc<str>) -> Result<(), Full> {
        if self.client.is_some() {
            return Ok(());
        }
        let mut taken = self.budget.taken.lock();
        let used = taken.clients.entry(client.clone()).or_default();
        if *used >= self.budget.share {
            return Err(Full::Client);
        }
        *used += 1;
        self.client = Some(client.clone());
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.budget.taken.lock();
        taken.all -= 1;
        // Clients come and go by the names in their tokens; who has nothing is not remembered.
        if let Some(client) = &self.client
            && let Some(used) = taken.clients.get_mut(client)
        {
            *used -= 1;
            if *used == 0 {
                taken.clients.remove(client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_every_place_and_places_come_back() {
        let budget = Budget::new(4, 75);
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        let mut held: Vec<Permit> = (0..3).map(|_| budget.take(Some(&greedy)).unwrap()).collect();
        assert_eq!(budget.take(Some(&greedy)).unwrap_err(), Full::Client);
        held.push(budget.take(Some(&other)).expect("the refused one holds nothing"));
        assert_eq!(budget.take(None).unwrap_err(), Full::All);
        held.remove(0);
        let mut late = budget.take(None).unwrap();
        assert_eq!(late.charge(&greedy), Ok(()));
        assert_eq!(late.charge(&other), Ok(()), "charged already");
        drop((held, late));
        let taken = budget.taken.lock();
        assert!(taken.all == 0 && taken.clients.is_empty(), "{taken:?}");
    }

    #[test]
    fn even_the_smallest_share_is_one() {
        let budget = Budget::new(1, 1);
        assert!(budget.take(Some(&"a".into())).is_ok());
    }
}

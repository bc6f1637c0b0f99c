-- Hubs know what they hold and delete it by its id when it is over. The index on the expiry was for finding that, and cost
-- each new row about as much as the table itself.
drop index revocation_exp_idx;

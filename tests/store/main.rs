//! What a store promises, asked of both engines. Postgres: a superuser's URL in `TEST_POSTGRES_URL`; each test makes a
//! database of its own. No test sleeps to let something happen: it waits for the thing itself, for a bounded time.

mod audit;
mod contract;
mod foretold;
mod links;
mod place;
mod postgres;
mod sqlite;

/// Runs every function, of [`contract`] or [`links`], on both engines.
macro_rules! on_both {
    ($($room:ident: $($name:ident)*;)*) => {
        mod on_postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::place::on_postgres(crate::$room::$name).await;
            })*)*
        }
        mod on_sqlite {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::place::on_sqlite(crate::$room::$name).await;
            })*)*
        }
    };
}

on_both! {
    audit:
        what_is_committed_has_its_record_and_nothing_else
        a_target_is_found_in_a_large_audit_from_either_end
    ;
    contract:
        positions_have_no_gap_and_outcomes_the_order_of_the_changes
        the_same_again_changes_nothing
        a_wider_rule_moves_the_row
        a_lift_leaves_a_tombstone_and_can_be_undone
        what_is_over_counts_as_absent
        pages_are_in_order_and_bounded
        pruning_deletes_what_is_over_and_nothing_else
        epoch_and_head_survive_reopening_and_pruning
        pending_migrations_refuse_until_they_are_applied
        a_newer_schema_is_refused
        a_lost_log_row_refuses_and_comes_back_with_another_epoch
        hostile_strings_come_back_as_they_went
        numbers_come_back_as_they_went
        a_large_batch_is_one_commit
        concurrent_appends_leave_no_gap
        an_append_that_is_dropped_midway_leaves_a_working_store
        a_closed_store_says_so
        an_epoch_is_renewed_once_and_remembered
        what_was_lost_is_put_back_and_what_was_not_stays
    ;
    links:
        the_same_message_is_parked_once
        the_oldest_go_beyond_the_limit
        parked_messages_come_in_pages_in_the_order_of_their_numbers
        bodies_come_back_byte_for_byte
        no_text_of_a_foreign_message_can_prevent_its_parking
        one_holder_at_a_time
        a_former_holder_moves_nothing
        a_lease_ends_by_the_clock_of_the_database
        positions_survive_reopening_and_are_kept_by_name
    ;
}

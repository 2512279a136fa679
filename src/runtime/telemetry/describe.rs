//! Help texts of the metrics.

use metrics::{describe_counter, describe_gauge, describe_histogram};

pub(super) fn all() {
    scheduler();
    worker();
    events();
    feedback();
    queue();
    process();
}

fn scheduler() {
    describe_counter!("bday_ticks_total", "Scheduler passes, by outcome");
    describe_histogram!("bday_tick_duration_seconds", "Duration of a scheduler pass, in seconds");
    describe_gauge!("bday_tick_age_seconds", "Time since the last progress of the scheduler, in seconds");
    describe_gauge!("bday_plan_age_seconds", "Time since the last progress of the planner, in seconds");
    describe_counter!("bday_swept_total", "Events with an expired lease, by outcome");
    describe_counter!(
        "bday_send_failed_total",
        "Events in packs that the queue did not confirm; they are sent again"
    );
    describe_counter!("bday_packs_resent_total", "Packs sent again because the queue lost them");
    describe_gauge!("bday_unreadable_users", "Users that this version cannot read and does not plan");
}

fn worker() {
    describe_gauge!("bday_receive_age_seconds", "Time since the last progress of the workers, in seconds");
    describe_counter!("bday_messages_received_total", "Messages received from the queue");
    describe_counter!("bday_messages_unreadable_total", "Unreadable messages moved to the dead-letter queue");
    describe_counter!("bday_leases_extended_total", "Leases extended by the heartbeat");
    describe_counter!("bday_leases_lost_total", "Outcomes that were not recorded because the lease was lost");
    describe_counter!("bday_attempts_failed_total", "Failed attempts, by reason and channel");
    describe_histogram!(
        "bday_lateness_seconds",
        "Time from the earliest possible send (due, learned later, or end of a pause) to the 2xx, in seconds"
    );
    describe_gauge!("bday_in_flight", "Requests in flight");
    describe_gauge!(
        "bday_breaker_open",
        "State of the breaker of a channel: 0 closed, 0.5 ramping up, 1 open"
    );
    describe_counter!(
        "bday_events_postponed_total",
        "Leased events that were postponed because their channel was not ready"
    );
    describe_counter!("bday_contacts_refused_total", "Contacts that a provider refused, by channel");
}

fn events() {
    describe_counter!("bday_events_planned_total", "Events planned");
    describe_counter!("bday_events_queued_total", "Events claimed and packed into the outbox");
    describe_counter!("bday_events_delivered_total", "Events accepted by a receiver, by kind and channel");
    describe_counter!("bday_events_dead_total", "Events that died, by reason");
    describe_counter!("bday_events_skipped_total", "Events skipped, by reason");
    describe_counter!("bday_events_cancelled_total", "Events cancelled, by reason");
    describe_counter!("bday_events_redriven_total", "Dead events redriven");
    describe_counter!("bday_events_moved_by_zone_data_total", "Pending events moved by new zone data");
    describe_counter!("bday_events_forgotten_total", "Finished events deleted after their retention");
    describe_counter!(
        "bday_events_deferred_total",
        "Events left in the outbox because they were locked or their kind is unknown to the worker"
    );
    describe_gauge!(
        "bday_events_waiting",
        "Due events that wait for a worker: pending (counted up to 100,000) or queued"
    );
    describe_gauge!(
        "bday_events_waiting_oldest_age_seconds",
        "Age of the oldest event that waits, in seconds"
    );
    describe_gauge!("bday_events_delivering", "Events leased by workers");
}

fn feedback() {
    describe_counter!(
        "bday_feedback_total",
        "Reports of providers on accepted greetings, by channel and type"
    );
    describe_counter!("bday_feedback_unreadable_total", "Messages of the feedback queue that cannot be read");
}

fn queue() {
    describe_gauge!("bday_queue_messages", "Messages (packs of events) in the queue, by state");
    describe_gauge!("bday_dead_letters", "Messages in the dead-letter queue");
    describe_counter!(
        "bday_dead_letters_deleted_total",
        "Messages deleted from the dead-letter queue, by redrive or purge"
    );
}

fn process() {
    describe_gauge!("bday_paused", "Whether sending is paused: 0 or 1");
    describe_gauge!("bday_build_info", "Always 1, with the version as a label");
    describe_gauge!("bday_clock_offset_seconds", "Local clock minus database clock, in seconds");
    describe_counter!("bday_source_failures_total", "Failed fetches of values from other sources, by key");
    describe_counter!("bday_callbacks_total", "Callbacks of providers, by provider and outcome");
    describe_counter!("bday_api_refused_total", "Rejected API writes, by status");
    describe_counter!("bday_console_sign_ins_total", "Sign-ins to the console, by result");
    describe_counter!("bday_spans_dropped_total", "Spans of traces that were not exported, by reason");
}

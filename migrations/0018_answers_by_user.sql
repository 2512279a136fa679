-- Whose answer it is: a person who is deleted is taken out of the answers that are kept for a day. The row stays, without
-- user, answer and hash, so that a repeat creates nobody.
CREATE INDEX IF NOT EXISTS idempotency_keys_by_user ON idempotency_keys (user_id) WHERE user_id IS NOT NULL;

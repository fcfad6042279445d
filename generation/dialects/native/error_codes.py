"""Every error code of the native API, as data for its page and its test."""

from __future__ import annotations

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """A code, what to do about it, and its HTTP status ("output": the end of an output, "batch": a line of one)."""

    code: str
    status: str
    what_to_do: str


ERROR_CODES = (
    ErrorCode("api_key_missing", "401", "Send Authorization: Bearer with an API key."),
    ErrorCode("invalid_api_key", "401", "Check that the key was copied whole; make a new one if it was lost."),
    ErrorCode("api_key_revoked", "401", "Make a new key."),
    ErrorCode("api_key_expired", "401", "Make a new key, or rotate before the end next time."),
    ErrorCode("api_key_disabled", "401", "Enable the key again on the keys page."),
    ErrorCode("account_suspended", "403", "Ask the operator of this service."),
    ErrorCode("ip_not_allowed", "403", "Call from a listed address, or change the key's list."),
    ErrorCode("scope_missing", "403", "Use a key with that scope."),
    ErrorCode(
        "not_allowed_for_key", "403", "The key's own limits are narrower than the request; param names the field."
    ),
    ErrorCode("link_expired", "403", "Get the generation again: it carries fresh links."),
    ErrorCode("invalid_json", "400", "The message says where the body stops being JSON."),
    ErrorCode("invalid_request", "400", "param names the field."),
    ErrorCode("unknown_field", "400", "param names a field this API does not know: look for a typing mistake."),
    ErrorCode("model_not_found", "400", "GET /api/v1/models lists the models."),
    ErrorCode(
        "model_not_available",
        "400",
        "This model is switched off, was shut down, or no channel here makes images with it.",
    ),
    ErrorCode("price_not_set", "400", "This size has no price here, so it is not sold. Choose another size."),
    ErrorCode("price_above_maximum", "400", "Raise routing.max_price_usd, or ask for a smaller image or another lane."),
    ErrorCode("lane_not_available", "400", "Ask for standard or auto; the price of a model says which lanes it has."),
    ErrorCode("channel_not_found", "400", "routing names a channel that is not here: the attempts show their names."),
    ErrorCode("prompt_empty", "400", "Say what the image should show."),
    ErrorCode("prompt_too_long", "400", "Shorten the prompt; the message has the limit."),
    ErrorCode("prompt_invalid", "400", "Remove the character the message names."),
    ErrorCode("n_out_of_range", "400", "The message has the range."),
    ErrorCode("aspect_ratio_not_supported", "400", "The message lists the model's ratios."),
    ErrorCode("image_size_not_supported", "400", "The message lists the model's sizes."),
    ErrorCode("not_supported", "400", "The model lacks what param names."),
    ErrorCode("too_many_references", "400", "Send fewer references."),
    ErrorCode("too_many_subjects", "400", "Give some references the role object or style."),
    ErrorCode("file_not_found", "400, 404", "The body has no part, or the account no file, of that name."),
    ErrorCode("output_not_found", "400, 404", "Check the id, and that key and output are of one mode."),
    ErrorCode("previous_ambiguous", "400", "Name one output (out_...) instead of the generation."),
    ErrorCode("reference_not_decodable", "400", "Send a complete PNG, JPEG or WebP image within the limits."),
    ErrorCode("reference_too_large", "400", "At most 20 MB a reference."),
    ErrorCode("reference_forbidden_address", "400", "The URL does not lead to a public address."),
    ErrorCode("reference_redirected", "400", "Send the address the image finally lies at."),
    ErrorCode("reference_timed_out", "400", "The server of the reference is too slow; send the image itself."),
    ErrorCode("reference_unreachable", "400", "The server of the reference cannot be reached."),
    ErrorCode("reference_bad_status", "400", "The server of the reference did not answer 200."),
    ErrorCode("insufficient_credit", "402", "Add credit, or ask for less."),
    ErrorCode("wallet_frozen", "402", "A payment is disputed. Ask the operator of this service."),
    ErrorCode("spending_limit_exceeded", "402", "Raise the account's spending limit, or wait for the next month."),
    ErrorCode("budget_exceeded", "402", "Raise the key's budget, or wait for its next period."),
    ErrorCode("generation_not_found", "404", "Check the id, and that key and generation are of one mode."),
    ErrorCode("not_found", "404", "Check the path."),
    ErrorCode("method_not_allowed", "405", "Check the method."),
    ErrorCode("image_gone", "400, 410", "The stored image is no longer there; tell the operator."),
    ErrorCode("body_too_large", "413", "Send large references as URLs, or fewer."),
    ErrorCode("unsupported_media_type", "415", "Send JSON or multipart/form-data."),
    ErrorCode("idempotency_key_reused", "422", "Use a new Idempotency-Key for a new request."),
    ErrorCode("rate_limit_exceeded", "429", "Wait for the seconds of Retry-After."),
    ErrorCode("too_many_refused_keys", "429", "Stop sending keys that were refused; wait for Retry-After."),
    ErrorCode("too_many_unfinished", "429", "Wait for some images to finish."),
    ErrorCode("concurrency_limit", "429", "Wait for some of this key's images to finish."),
    ErrorCode("client_left", "503", "Nobody was there to read this: nothing was accepted."),
    ErrorCode("file_exists", "409", "Other doors: choose another name for the file, or remove the one that has it."),
    ErrorCode("too_many_files", "413", "Other doors: remove files that were sent ahead, or wait until they expire."),
    ErrorCode("batch_not_found", "404", "Other doors: check the id, and that key and batch are of one mode."),
    ErrorCode("too_many_batches", "429", "Other doors: wait for a batch to end, or cancel one."),
    ErrorCode("duplicate_custom_id", "batch", "A line of a batch: each needs a custom_id of its own."),
    ErrorCode("empty_batch", "batch", "The file has no request."),
    ErrorCode("invalid_json_line", "batch", "A line of a batch: this is a JSON object."),
    ErrorCode("invalid_method", "batch", "A line of a batch: its method is POST."),
    ErrorCode("invalid_url", "batch", "A line of a batch: its url is the batch's endpoint."),
    ErrorCode("missing_required_parameter", "batch", "A line of a batch: param says what it lacks."),
    ErrorCode("too_many_requests", "batch", "Hand it in as several batches."),
    ErrorCode("still_running", "504", "Other doors: send the same request again; it waits for the same generation."),
    ErrorCode("internal_error", "500, output", "Tell the operator the request id."),
    ErrorCode("no_channel_configured", "503", "Operator: set GEMINI_API_KEY or add a channel in the admin."),
    ErrorCode("no_channel_available", "503", "Operator: look at the channels in the admin."),
    ErrorCode("service_unavailable", "503", "Send the request again, with the same Idempotency-Key."),
    ErrorCode(
        "content_refused", "output", "Change the prompt or the references; trying again unchanged does not help."
    ),
    ErrorCode("no_image", "output", "The model answered with words only; ask for an image more plainly."),
    ErrorCode("upstream_rejected", "output", "The provider calls the request itself wrong; simplify it."),
    ErrorCode("upstream_unavailable", "output", "Every channel was busy or down for all tries; try again later."),
    ErrorCode("upstream_no_answer", "output", "The provider broke off several times; try again later."),
    ErrorCode("deadline_exceeded", "output", "Its lane did not bring it in time: ask for standard, or with run_on."),
    ErrorCode("canceled", "output", "You canceled it before it was sent."),
)

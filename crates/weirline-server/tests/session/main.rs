//! `/v1/ws`: sessions with many streams, on pipes and a paused clock, through the server's own driver.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod client;
mod flows;
mod holders;
mod hostile;
mod peer;
mod refusals;
mod slow;
mod sockets;

use weirline_resume::wire::Form;

const FORMS: [Form; 2] = [Form::Json, Form::Binary];

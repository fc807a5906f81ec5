//! What a recording wants done, done.

use std::net::SocketAddr;
use std::time::Instant;

use siprec_model::{BranchCommand, BranchEvent, RecordingKey};
use siprec_session::{Flow, Input, Output, TransportEvent};
use siprec_sip::{Message, Request, Uri};
use siprec_transport::{Destination, ResolveError, Target};
use tracing::instrument::WithSubscriber as _;

use crate::outbox::Refused;
use crate::redact::Redacted;
use crate::routes::{Way, sip_transport};
use crate::worker::{Claim, Dialog, Resolution, Worker, call_id, tell};

impl Worker {
    pub(crate) fn carry_out(&mut self, key: RecordingKey, output: Output) {
        match output {
            Output::ChooseRecorder { attempt, wish } => {
                let choice = Box::new(self.roster().choose((key, attempt), &wish, Instant::now()));
                self.pending.push_back((key, Input::Recorder { attempt, choice }));
            }
            Output::RecorderSilent { attempt, unreached } => {
                let change = self.roster().miss((key, attempt), unreached);
                self.tell_change(change);
            }
            Output::RecorderAway { attempt, delay } => {
                let change = self.roster().send_away((key, attempt), delay, Instant::now());
                self.tell_change(change);
            }
            Output::SessionLost { attempt } => self.roster().vacate(key, attempt),
            Output::AttemptOver { attempt } => {
                self.forget_notes(key, Some(attempt));
                self.roster().leave(key, attempt, Instant::now());
            }
            Output::Note { attempt, note } => self.note(key, attempt, note),
            Output::Resolve { attempt, recorder, after: Some(after), .. } => {
                self.roster().go_to(key, attempt, &recorder);
                let dialog = Dialog { key, attempt };
                let event = self.begin_elsewhere(dialog, after);
                self.pending.push_back((key, Input::Transport(event)));
            }
            Output::Resolve { attempt, uri, secure, tls, after: None, .. } => {
                let target = Target::of(&uri).map(|target| target.with_tls(&tls));
                let target = if secure { target.and_then(Target::secured) } else { target };
                self.resolve(Dialog { key, attempt }, target);
            }
            Output::Send { attempt, message, next_hop } => {
                self.send(Dialog { key, attempt }, message, next_hop);
            }
            Output::Stray(request) => self.answer_stray(&request),
            Output::Branch(command) => {
                if let Some(entry) = self.recordings.get_mut(&key) {
                    entry.note(&command);
                }
                self.command(command);
            }
            Output::Event(event) => {
                if let Some(entry) = self.recordings.get_mut(&key) {
                    entry.info = event.info.clone();
                    if entry.shared.is_over() {
                        self.parts.idle.make_room(key);
                    }
                }
                self.parts.notifier.push(key, event);
            }
            Output::Released => self.release(key),
            Output::Finished => self.remove(key),
        }
    }

    fn resolve(&mut self, dialog: Dialog, target: Result<Target, ResolveError>) {
        let Dialog { key, attempt } = dialog;
        let event = match target {
            Err(error) => TransportEvent::Unresolved { attempt, reason: error.to_string() },
            Ok(target) => match target.literal() {
                Some(destination) => self.begin_attempt(dialog, target, vec![destination]),
                None => return self.look_up(dialog, target, true),
            },
        };
        self.pending.push_back((key, Input::Transport(event)));
    }

    fn look_up(&self, dialog: Dialog, target: Target, first: bool) {
        let transport = self.parts.transport.clone();
        let deadline = self.parts.resolve_timeout;
        let search = async move {
            let outcome = transport.resolve_target(&target, deadline).await;
            Resolution { dialog, target, first, outcome }
        };
        tokio::spawn(tell(self.resolving.clone(), search).with_current_subscriber());
    }

    /// Begins an attempt at the address after the one that failed.
    fn begin_elsewhere(&mut self, dialog: Dialog, after: u32) -> TransportEvent {
        let entry = self.recordings.get_mut(&dialog.key);
        match entry.and_then(|entry| entry.routes.elsewhere(after)) {
            Some((target, destinations)) => self.begin_attempt(dialog, target, destinations),
            None => {
                let reason = "the recorder has no further address".to_owned();
                TransportEvent::Unresolved { attempt: dialog.attempt, reason }
            }
        }
    }

    /// Begins an attempt at the first destination to which there is a route, and chooses the local addresses by that.
    pub(crate) fn begin_attempt(
        &mut self,
        dialog: Dialog,
        target: Target,
        destinations: Vec<Destination>,
    ) -> TransportEvent {
        let Dialog { key, attempt } = dialog;
        let mut reason = "the recorder has no address".to_owned();
        let mut destinations = destinations.into_iter();
        let found = destinations.by_ref().find_map(|destination| {
            let local = self.parts.transport.local_towards(destination.remote);
            local.map(|local| (destination, local)).map_err(|error| reason = error.to_string()).ok()
        });
        let Some((destination, local)) = found else { return TransportEvent::Unresolved { attempt, reason } };
        let others: Vec<Destination> = destinations.collect();
        let transport = sip_transport(destination.protocol);
        let port = self.parts.transport.port(destination.protocol);
        let flow = Flow {
            transport,
            remote: destination.remote,
            local: SocketAddr::new(self.parts.advertised.unwrap_or(local), port),
            media: self.parts.media.unwrap_or(local),
        };
        if let Some(entry) = self.recordings.get_mut(&key) {
            let more = !others.is_empty();
            entry.routes.insert(attempt, target, destination, others);
            return TransportEvent::Resolved { attempt, flow, more };
        }
        TransportEvent::Resolved { attempt, flow, more: false }
    }

    fn send(&mut self, dialog: Dialog, message: Message, next_hop: Option<Box<Uri>>) {
        let request = match message {
            Message::Response(_) => return self.send_response(message),
            Message::Request(request) => request,
        };
        let Some(entry) = self.recordings.get_mut(&dialog.key) else { return };
        if let Some(call_id) = call_id(&request.headers)
            && !self.dialogs.contains_key(&call_id)
        {
            entry.call_ids.push(call_id.clone());
            let tag = request.headers.from().ok().and_then(|from| from.tag().map(str::to_owned));
            self.dialogs.insert(call_id, Claim { dialog, tag });
        }
        let way = entry.routes.way(dialog.attempt, request, next_hop);
        self.go(dialog, way);
    }

    pub(crate) fn go(&mut self, dialog: Dialog, way: Way) {
        match way {
            Way::Send(request, destination) => self.send_request(dialog, *request, destination),
            Way::Resolve(target) => self.look_up(dialog, target, false),
            Way::Wait => {}
            Way::Lost(reason) => self.fail(dialog, reason.to_owned()),
        }
    }

    fn send_request(&mut self, dialog: Dialog, request: Request, destination: Destination) {
        tracing::debug!("sent to {}\n{}", destination.remote, Redacted(&request.to_bytes()));
        if let Some(entry) = self.recordings.get_mut(&dialog.key) {
            entry.keep_alive(dialog.attempt, &destination, &self.parts.transport);
        }
        if let Err(error) = self.parts.transport.send(request, destination) {
            self.fail(dialog, error.to_string());
        }
    }

    pub(crate) fn send_response(&self, message: Message) {
        tracing::debug!("answered\n{}", Redacted(&message.to_bytes()));
        let Message::Response(response) = message else { return };
        if let Err(error) = self.parts.transport.respond(response) {
            // The peer repeats its request, or gives up.
            tracing::info!(%error, "a response was not sent");
        }
    }

    /// A message of a dialog cannot be sent.
    pub(crate) fn fail(&mut self, Dialog { key, attempt }: Dialog, reason: String) {
        if let Some(entry) = self.recordings.get_mut(&key) {
            entry.unsent.insert(attempt, reason.clone());
        }
        self.pending.push_back((key, Input::Transport(TransportEvent::Failed { attempt, reason })));
    }

    /// Gives the engine a command; one that it does not take is a fault of its branch, told to the recording.
    pub(crate) fn command(&mut self, command: BranchCommand) {
        if let Err(refused) = self.parts.outbox.push(command, Instant::now()) {
            self.refused(refused);
        }
    }

    pub(crate) fn refused(&mut self, Refused { branch, error }: Refused) {
        tracing::error!(%branch, %error, "a command was lost");
        let event = BranchEvent::Crashed { reason: error.to_string() };
        self.pending.push_back((branch.recording, Input::Media(branch, event)));
    }
}

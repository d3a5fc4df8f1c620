//! Service Election of etcd: the oldest key under a name leads, and its value is what the leader has to say.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use quorate_kv::{EventKind, KeyValue, TxnRequest};
use tonic::{Request, Response, Status};

use super::Services;
use super::queue::{self, Place, without_code};
use crate::caller::Client;
use crate::context::Context;
use crate::errors;
use crate::pb::v3electionpb as pb;
use crate::watch::{KeySpan, RangeEnd, changed};

fn missing_leader() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

impl Services {
    async fn run_campaign(
        &self,
        client: &Client,
        request: pb::CampaignRequest,
    ) -> Result<pb::CampaignResponse, Status> {
        let context = &self.0;
        let lease = queue::session(context, client, request.lease).await?;
        let key = queue::own_key(&request.name, lease);
        let enter = TxnRequest {
            compare: vec![queue::created_at(&key, 0)],
            success: vec![queue::put(&key, request.value.clone(), lease)],
            failure: vec![queue::get(&key)],
        };
        let (entered, revision) = queue::txn(context, client, enter).await?;
        let own = queue::first_read(&entered, 0).filter(|_| !entered.succeeded);
        let rev = own.map_or(revision, |kv| kv.create_revision);
        let place = Place::new(context, client, &key, rev);
        if own.is_some_and(|kv| kv.value != request.value) {
            self.change_value(client, &key, rev, request.value, lease).await?;
        }
        queue::wait_for_turn(context, client, &request.name, rev).await?;
        place.keep();
        let leader = pb::LeaderKey {
            name: request.name,
            key,
            rev,
            lease,
        };
        Ok(pb::CampaignResponse {
            header: Some(context.header(revision)),
            leader: Some(leader),
        })
    }

    /// Puts a value as the leader; gives the revision.
    async fn change_value(
        &self,
        client: &Client,
        key: &Bytes,
        rev: i64,
        value: Bytes,
        lease: i64,
    ) -> Result<i64, Status> {
        let request = TxnRequest {
            compare: vec![queue::created_at(key, rev)],
            success: vec![queue::put(key, value, lease)],
            failure: Vec::new(),
        };
        let (done, revision) = queue::txn(&self.0, client, request).await?;
        done.succeeded.then_some(revision).ok_or_else(not_leader)
    }

    async fn present_leader(&self, client: &Client, name: &[u8]) -> Result<pb::LeaderResponse, Status> {
        let (found, revision) = queue::read(&self.0, client, &queue::oldest(name)).await?;
        let leader = found.kvs.into_iter().next();
        let leader = leader.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(pb::LeaderResponse {
            header: Some(self.0.header(revision)),
            kv: Some(leader.into()),
        })
    }
}

#[tonic::async_trait]
impl pb::election_server::Election for Services {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let client = self.0.client(&request);
        let elected = self.run_campaign(&client, request.into_inner()).await;
        elected.map(Response::new).map_err(without_code)
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        let leader = request.leader.ok_or_else(missing_leader)?;
        let proclaimed = async {
            let lease = queue::session(&self.0, &client, leader.lease).await?;
            self.change_value(&client, &leader.key, leader.rev, request.value, lease)
                .await
        };
        let revision = proclaimed.await.map_err(without_code)?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        let client = self.0.client(&request);
        let leader = self.present_leader(&client, &request.into_inner().name).await;
        leader.map(Response::new).map_err(without_code)
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let client = self.0.client(&request);
        self.0.ensure_serving(&client)?;
        let observer = Observer {
            context: Arc::clone(&self.0),
            client,
            name: request.into_inner().name,
            following: None,
            ended: false,
        };
        let leaders = stream::unfold(observer, |mut observer| async {
            if observer.ended {
                return None;
            }
            let leader = observer.next().await;
            observer.ended = leader.is_err();
            Some((leader.map_err(without_code), observer))
        });
        Ok(Response::new(Box::pin(leaders)))
    }

    /// Deletes the leader's key; somebody who does not lead (any more) gets no error, as in etcd.
    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        let client = self.0.client(&request);
        let leader = request.into_inner().leader.ok_or_else(missing_leader)?;
        let request = TxnRequest {
            compare: vec![queue::created_at(&leader.key, leader.rev)],
            success: vec![queue::delete(&leader.key)],
            failure: Vec::new(),
        };
        let (_, revision) = queue::txn(&self.0, &client, request).await.map_err(without_code)?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::ResignResponse { header }))
    }
}

/// Follows the leaders of a name.
struct Observer {
    context: Arc<Context>,
    client: Client,
    name: Bytes,
    /// The leader's key, and the next revision to look at.
    following: Option<(Bytes, i64)>,
    ended: bool,
}

impl Observer {
    /// The next leader, or the next value of the same one.
    async fn next(&mut self) -> Result<pb::LeaderResponse, Status> {
        loop {
            match self.following.take() {
                None => {
                    let (found, seen) = queue::read(&self.context, &self.client, &queue::oldest(&self.name)).await?;
                    if let Some(leader) = found.kvs.into_iter().next() {
                        self.following = Some((leader.key.clone(), seen + 1));
                        return Ok(self.response(leader, seen));
                    }
                    let (start, end) = queue::prefix(&self.name);
                    changed(&self.context, KeySpan::Range(start, RangeEnd::Until(end)), seen).await?;
                }
                Some((key, next_revision)) => {
                    if let Some(response) = self.follow(key, next_revision).await? {
                        return Ok(response);
                    }
                }
            }
        }
    }

    /// Looks through history for the key's next change, or waits for one.
    async fn follow(&mut self, key: Bytes, next_revision: i64) -> Result<Option<pb::LeaderResponse>, Status> {
        let keyspace = self.context.keyspace_view()?;
        // What is compacted cannot be told any more: the present leader can.
        let Ok(mut history) = keyspace.events_from(next_revision) else {
            return Ok(None);
        };
        let change = history.find_map(|revision| revision.iter().find(|event| event.kv.key == key).cloned());
        match change {
            Some(event) if event.kind == EventKind::Put => {
                let caller = self.client.named_caller(&keyspace);
                keyspace
                    .check_range(Some(&caller), &key, &[])
                    .map_err(errors::kv_status)?;
                let revision = event.kv.mod_revision;
                self.following = Some((key, revision + 1));
                Ok(Some(self.response(event.kv, revision)))
            }
            Some(_) => Ok(None),
            None => {
                let seen = keyspace.revision();
                drop(history);
                drop(keyspace);
                self.following = Some((key.clone(), seen + 1));
                changed(&self.context, KeySpan::One(key), seen).await?;
                Ok(None)
            }
        }
    }

    fn response(&self, leader: KeyValue, revision: i64) -> pb::LeaderResponse {
        pb::LeaderResponse {
            header: Some(self.context.header(revision)),
            kv: Some(leader.into()),
        }
    }
}

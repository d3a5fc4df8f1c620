//! Service Watch: opens a session per stream.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::pb::etcdserverpb as pb;
use crate::watch::Session;

#[tonic::async_trait]
impl pb::watch_server::Watch for Services {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let client = self.0.client(&request);
        self.0.ensure_serving(&client)?;
        let session = Session::new(Arc::clone(&self.0), client, request.into_inner());
        let responses = stream::unfold(session, |mut session| async {
            let response = session.next().await?;
            Some((response, session))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

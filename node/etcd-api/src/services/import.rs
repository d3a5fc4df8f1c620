//! Service Import, our own: the content of another store, block by block.

use std::sync::Arc;

use quorate_kv::{ImportAction, ImportStep, KvOp};
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::caller::Client;
use crate::context::Context;
use crate::pb::quoratepb as pb;
use crate::random::random_u64;

/// An import that is given up unless it is committed.
struct Import {
    context: Arc<Context>,
    client: Client,
    step: ImportStep,
    /// Blocks are waiting in the state.
    open: bool,
}

impl Import {
    async fn append(&mut self, block: bytes::Bytes) -> Result<(), Status> {
        let step = ImportStep {
            block,
            ..self.step.clone()
        };
        // From here on the block may be there, whatever the answer.
        self.open = true;
        self.context.propose(&self.client, KvOp::Import(step)).await?;
        self.step.position += 1;
        Ok(())
    }

    async fn commit(mut self) -> Result<i64, Status> {
        let step = ImportStep {
            action: ImportAction::Commit as i32,
            ..self.step.clone()
        };
        let (_, revision) = self.context.propose(&self.client, KvOp::Import(step)).await?;
        self.open = false;
        Ok(revision)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let step = ImportStep {
            action: ImportAction::Abort as i32,
            ..self.step.clone()
        };
        let (context, client) = (Arc::clone(&self.context), self.client.clone());
        tokio::spawn(async move {
            if let Err(status) = context.propose(&client, KvOp::Import(step)).await {
                // It was refused and is gone already, or the next import takes its place.
                tracing::debug!("an import was not given up: {}", status.message());
            }
        });
    }
}

#[tonic::async_trait]
impl pb::import_server::Import for Services {
    async fn import(
        &self,
        request: Request<Streaming<pb::ImportBlock>>,
    ) -> Result<Response<pb::ImportResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        context.ensure_serving(&client)?;
        context.authorize_admin(&client).await?;
        let mut inbound = request.into_inner();
        let mut import = Import {
            context: Arc::clone(context),
            client,
            step: ImportStep {
                import: random_u64(),
                ..ImportStep::default()
            },
            open: false,
        };
        while let Some(message) = inbound.message().await? {
            import.append(message.block).await?;
        }
        let revision = import.commit().await?;
        let header = Some(context.header(revision));
        Ok(Response::new(pb::ImportResponse { header }))
    }
}

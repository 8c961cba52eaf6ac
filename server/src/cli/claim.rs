//! `claim`: devices and their owners.

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    export::Export,
    import::Import,
    output::{Output, or_dash, sheet},
    view::{View, collision_text},
};
use crate::{
    domain::claims::claim::Metadata,
    service::{ClaimFilter, ClaimView, NewClaim},
};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, value_parser};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde_json::json;
use std::{fmt, path::Path, str::FromStr};
use unbox_common::{
    bytes::Bytes,
    identity::{Identifier, IdentifierKind},
    ids::ClaimId,
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    trust::DevicePublicKey,
};

/// The commands for claims.
#[derive(Debug, Subcommand)]
pub(super) enum Claim {
    /// Claim one device; `import` claims many.
    #[command(after_help = "\
Examples:
  unbox-server claim add --customer Acme --serial PF0ABCDE --manufacturer LENOVO --model 20QES0XX00
  unbox-server claim add --customer Acme --service-tag 7XK9Q13 --proof token --configuration kiosk")]
    Add(Box<Add>),
    /// Claim devices from a CSV file, or apply a customer's configurations from one.
    Import(Box<Import>),
    /// Write claims to a CSV file.
    Export(Export),
    /// List claims.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<String>,
        /// Registered by this reseller.
        #[arg(long)]
        reseller: Option<String>,
        /// With this configuration of their own: its id, or its exact name with --customer.
        #[arg(long)]
        configuration: Option<String>,
        /// That ask for this proof.
        #[arg(long)]
        proof: Option<Proof>,
        /// Found by this identifier, such as `serial_number PF0ABCDE`.
        #[arg(long)]
        identifier: Option<String>,
        /// Only those whose device matched claims of other owners, too.
        #[arg(long)]
        colliding: bool,
        /// Ended claims too.
        #[arg(long)]
        released: bool,
        /// The most claims to show.
        #[arg(long, value_parser = value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show one with its device and history.
    Show {
        /// Its id.
        claim: ClaimId,
    },
    /// Give a claim a configuration of its own, or none.
    Configure {
        /// Its id.
        claim: ClaimId,
        /// The configuration's id or exact name; the customer's default if absent.
        configuration: Option<String>,
    },
    /// Set the proof that the claim's device must give from now on.
    Prove {
        /// Its id.
        claim: ClaimId,
        /// The proof.
        proof: Proof,
    },
    /// End a claim; its device is deprovisioned.
    Remove {
        /// Its id.
        claim: ClaimId,
        #[command(flatten)]
        consent: Consent,
    },
}

/// A device to claim. All identifiers that are given must match.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The owner: a customer's id or exact name.
    #[arg(long)]
    customer: String,
    /// The reseller that registers it: an id or exact name.
    #[arg(long)]
    reseller: Option<String>,
    /// Its own configuration, an id or exact name; the customer's default if absent.
    #[arg(long)]
    configuration: Option<String>,
    /// The proof that it must give.
    #[arg(long, default_value = "identifiers")]
    proof: Proof,
    /// The order that it belongs to.
    #[arg(long)]
    order: Option<String>,
    /// Serial number; manufacturer and model belong to it.
    #[arg(long = "serial")]
    serial_number: Option<String>,
    /// Its maker.
    #[arg(long)]
    manufacturer: Option<String>,
    /// The maker's name for it.
    #[arg(long)]
    model: Option<String>,
    /// Dell service tag.
    #[arg(long)]
    service_tag: Option<String>,
    /// Serial number of the base board.
    #[arg(long)]
    board_serial: Option<String>,
    /// Serial number of the chassis.
    #[arg(long)]
    chassis_serial: Option<String>,
    /// Permanent MAC address; may be given more than once.
    #[arg(long = "mac")]
    mac_address: Vec<String>,
    /// System UUID.
    #[arg(long = "uuid")]
    system_uuid: Option<String>,
    /// The device's key: its SHA-256 in hexadecimal, or a file with the public key in PEM.
    #[arg(long)]
    device_key: Option<String>,
}

/// A proof by its wire name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof(pub(super) ProofKind);

impl FromStr for Proof {
    type Err = UnknownProof;

    fn from_str(text: &str) -> Result<Self, UnknownProof> {
        ProofKind::ALL.into_iter().find(|kind| kind.name() == text).map(Self).ok_or(UnknownProof)
    }
}

/// The error for a text that is not the name of a proof.
#[derive(Debug, thiserror::Error)]
#[error("expected identifiers, token, registered_key or tpm")]
pub(super) struct UnknownProof;

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Claim {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Add(add) => {
                let created = services.claims.create_claim(by, add.claim(opened).await?).await?;
                let said = format!("Created claim {}.", created.id);
                output.show(&View(created), &said)?;
            }
            Self::Import(command) => return command.run(opened, output).await,
            Self::Export(command) => return command.run(opened, output).await,
            Self::List {
                customer,
                reseller,
                configuration,
                proof,
                identifier,
                colliding,
                released,
                limit,
            } => {
                let customer = opened.customer_id(customer.as_deref()).await?;
                let configuration = opened.configuration_id(configuration.as_deref(), customer).await?;
                let reseller = opened.reseller_id(reseller.as_deref()).await?;
                let proof = proof.map(|proof| proof.0);
                let filter =
                    ClaimFilter { customer, reseller, configuration, proof, identifier, colliding, released };
                list(output, limit, View, |request| services.claims.list_claims(by, filter.clone(), request))
                    .await?;
            }
            Self::Show { claim } => show(services.claims.claim(by, claim).await?, output)?,
            Self::Configure { claim, configuration } => {
                let customer = services.claims.claim(by, claim).await?.claim.customer;
                let chosen = opened.configuration_id(configuration.as_deref(), Some(customer)).await?;
                let changed = services.claims.set_claim_configuration(by, claim, chosen).await?;
                let said = format!("Claim {claim} has configuration {}.", or_dash(chosen));
                output.show(&View(changed), &said)?;
            }
            Self::Prove { claim, proof } => {
                let changed = services.claims.set_claim_proof(by, claim, proof.0).await?;
                output.show(&View(changed), &format!("Claim {claim} asks for {proof} from now on."))?;
            }
            Self::Remove { claim, consent } => {
                let ClaimView { claim: found, device, .. } = services.claims.claim(by, claim).await?;
                let device = device.map_or_else(
                    || "no device of it was seen".to_owned(),
                    |device| {
                        format!("device {}, which is {}, is deprovisioned", device.id, device.state.name())
                    },
                );
                consent.ask(&format!("This ends claim {claim} of customer {}; {device}", found.customer))?;
                services.claims.unclaim(by, claim).await?;
                output.say(&format!("Ended claim {claim}."))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn show(view: ClaimView, output: &mut Output) -> anyhow::Result<()> {
    let ClaimView { claim, device, history } = view;
    if output.is_json() {
        let device = device.map(View);
        return output.show(&json!({ "claim": View(claim), "device": device, "history": history }), "");
    }
    let sets = claim
        .sets
        .usable()
        .iter()
        .map(|set| set.members().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let text = sheet(&[
        ("claim", claim.id.to_string()),
        ("customer", claim.customer.to_string()),
        ("reseller", or_dash(claim.reseller)),
        ("configuration", or_dash(claim.configuration)),
        ("proof", claim.proof.to_string()),
        ("first key until", claim.activation_ends_at.to_string()),
        ("identifiers", sets.collect::<Vec<_>>().join(" | ")),
        ("order", or_dash(claim.order.as_ref())),
        ("since", format!("{} by {}", claim.created_at, claim.created_by)),
        ("collides", or_dash(claim.collision.as_ref().map(collision_text))),
        ("ended", or_dash(claim.released_at)),
        (
            "device",
            device.map_or_else(
                || "not seen yet".to_owned(),
                |device| format!("{}, {}", device.id, device.state.name()),
            ),
        ),
    ]);
    output.show(&(), &text)?;
    output.say("")?;
    output.rows(&history)
}

impl Add {
    async fn claim(&self, opened: &Opened) -> anyhow::Result<NewClaim> {
        let set = IdentifierSet::new(self.identifiers()?)
            .context("these identifiers make no claim: add what is missing")?;
        let customer = opened.customer(&self.customer).await?.id;
        Ok(NewClaim {
            customer,
            reseller: opened.reseller_id(self.reseller.as_deref()).await?,
            configuration: opened.configuration_id(self.configuration.as_deref(), Some(customer)).await?,
            proof: self.proof.0,
            sets: vec![set],
            order: self.order.clone(),
            metadata: Metadata::default(),
            protected: false,
        })
    }

    fn identifiers(&self) -> anyhow::Result<Vec<Identifier>> {
        use IdentifierKind as Kind;
        let key = self.device_key.as_deref().map(key_digest).transpose()?;
        let given = [
            (Kind::SerialNumber, self.serial_number.as_ref()),
            (Kind::Manufacturer, self.manufacturer.as_ref()),
            (Kind::Model, self.model.as_ref()),
            (Kind::ServiceTag, self.service_tag.as_ref()),
            (Kind::BoardSerial, self.board_serial.as_ref()),
            (Kind::ChassisSerial, self.chassis_serial.as_ref()),
            (Kind::SystemUuid, self.system_uuid.as_ref()),
            (Kind::DeviceKey, key.as_ref()),
        ];
        let macs = self.mac_address.iter().map(|mac| (Kind::MacAddress, Some(mac)));
        given
            .into_iter()
            .chain(macs)
            .filter_map(|(kind, value)| value.map(|value| (kind, value)))
            .map(|(kind, value)| Ok(Identifier::parse(kind, value)?))
            .collect()
    }
}

/// Returns the digest itself, or the digest of the key in a file.
fn key_digest(digest_or_file: &str) -> anyhow::Result<String> {
    if digest_or_file.parse::<unbox_common::digest::Sha256>().is_ok() {
        return Ok(digest_or_file.to_owned());
    }
    let pem = super::context::read_document(Path::new(digest_or_file))?;
    let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) else {
        bail!("{digest_or_file} holds no public key in PEM: expected BEGIN PUBLIC KEY");
    };
    let key = DevicePublicKey::try_from(Bytes(spki.as_ref().to_vec()))
        .with_context(|| format!("{digest_or_file} holds another kind of key"))?;
    Ok(key.digest().to_string())
}

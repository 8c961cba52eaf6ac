//! The server sends the device elsewhere.

use super::Ordeal;
use anyhow::Result;
use unbox_tests::world::Reply;

#[test]
fn a_redirect_is_not_followed() -> Result<()> {
    let mut ordeal = Ordeal::begin(|_, _| Reply::redirect("/elsewhere"))?;
    ordeal.is_named_at_each_message("redirected")?;
    assert_eq!(ordeal.world.count_unexpected(), 0, "it followed the redirect");
    ordeal.ends_well()
}

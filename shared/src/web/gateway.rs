//! What the gateway hands over.

use lambda_http::LambdaEvent;
use lambda_http::request::LambdaRequest;

/// Leaves every header of a REST API's event in place.
///
/// Such an event has its headers twice: each with all its values, and each with
/// its last. `lambda_http` lets the second hide the first, and with it a second
/// `Authorization`.
pub fn multi_value_headers(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    if let LambdaRequest::ApiGatewayV1(request) = &mut event.payload
        && !request.multi_value_headers.is_empty()
    {
        request.headers.clear();
    }
    event
}

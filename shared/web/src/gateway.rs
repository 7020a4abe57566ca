//! Preparation of the API gateway's events.

use lambda_http::LambdaEvent;
use lambda_http::request::LambdaRequest;

/// Keeps every header of a REST API's event.
///
/// Such an event has its headers twice: once with all values of each, and once with only
/// the last value. `lambda_http` lets the second form hide the first, and with it a
/// second `Authorization` header.
pub fn multi_value_headers(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    if let LambdaRequest::ApiGatewayV1(request) = &mut event.payload
        && !request.multi_value_headers.is_empty()
    {
        request.headers.clear();
    }
    event
}

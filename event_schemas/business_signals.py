"""The vocabulary of business signals on companies: what kinds there are, and what each usually means."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

Grade = Literal["A", "B", "C", "D"]
"""A is worth most: a call within days. D is worth knowing."""
Direction = Literal["positive", "negative"]


class SignalType(StrEnum):
    """Every kind of signal. A negative one speaks against lending, not against the company as a customer."""

    BID_WON = "bid_won"
    BID_SHORTLISTED = "bid_shortlisted"
    BID_LOST = "bid_lost"
    FRAMEWORK_CONTRACT_SIGNED = "framework_contract_signed"
    LARGE_ORDER_RECEIVED = "large_order_received"
    GOVERNMENT_PROCUREMENT_WON = "government_procurement_won"
    ORDER_CANCELLED = "order_cancelled"
    EXPORT_GROWTH = "export_growth"
    IMPORT_GROWTH = "import_growth"
    NEW_MARKET_ENTERED = "new_market_entered"
    PROJECT_APPROVED = "project_approved"
    PROJECT_STARTED = "project_started"
    PROJECT_COMPLETED = "project_completed"
    PROJECT_SUSPENDED = "project_suspended"
    LAND_ACQUIRED = "land_acquired"
    PLANT_EXPANSION = "plant_expansion"
    EQUIPMENT_PURCHASE_PLANNED = "equipment_purchase_planned"
    ENVIRONMENTAL_PERMIT_GRANTED = "environmental_permit_granted"
    BUILDING_PERMIT_GRANTED = "building_permit_granted"
    GREEN_PROJECT_CERTIFIED = "green_project_certified"
    CAPITAL_RAISED = "capital_raised"
    CAPITAL_REDUCED = "capital_reduced"
    FINANCING_ROUND = "financing_round"
    IPO_FILED = "ipo_filed"
    IPO_COMPLETED = "ipo_completed"
    BOND_ISSUED = "bond_issued"
    BOND_MATURING = "bond_maturing"
    DIVIDEND_DECLARED = "dividend_declared"
    SHARE_PLEDGE = "share_pledge"
    SHARE_PLEDGE_RELEASED = "share_pledge_released"
    MERGER_ANNOUNCED = "merger_announced"
    ASSET_SALE = "asset_sale"
    GOVERNMENT_SUBSIDY_GRANTED = "government_subsidy_granted"
    EQUITY_INCENTIVE_PLANNED = "equity_incentive_planned"
    COMPANY_FOUNDED = "company_founded"
    SUBSIDIARY_FOUNDED = "subsidiary_founded"
    BRANCH_OPENED = "branch_opened"
    SUBSIDIARY_CLOSED = "subsidiary_closed"
    EXECUTIVE_CHANGE = "executive_change"
    OWNER_CHANGE = "owner_change"
    LEGAL_REPRESENTATIVE_CHANGE = "legal_representative_change"
    ADDRESS_MOVED = "address_moved"
    BUSINESS_SCOPE_EXTENDED = "business_scope_extended"
    NAME_CHANGED = "name_changed"
    HIRING_GROWTH = "hiring_growth"
    LAYOFFS = "layoffs"
    PAYROLL_GROWTH = "payroll_growth"
    PAYROLL_DROP = "payroll_drop"
    SOCIAL_INSURANCE_GROWTH = "social_insurance_growth"
    TALENT_TITLE_GRANTED = "talent_title_granted"
    PATENT_GRANTED = "patent_granted"
    HIGH_TECH_CERTIFIED = "high_tech_certified"
    SPECIALISED_SME_LISTED = "specialised_sme_listed"
    TRADEMARK_GRANTED = "trademark_granted"
    SOFTWARE_COPYRIGHT_GRANTED = "software_copyright_granted"
    AWARD_WON = "award_won"
    LOAN_MATURING = "loan_maturing"
    LOAN_MATURING_ELSEWHERE = "loan_maturing_elsewhere"
    GUARANTEE_EXPIRING = "guarantee_expiring"
    CREDIT_LINE_UNUSED = "credit_line_unused"
    CREDIT_LINE_EXHAUSTED = "credit_line_exhausted"
    IDLE_BALANCE_GROWTH = "idle_balance_growth"
    BALANCE_RUN_OFF = "balance_run_off"
    CROSS_BORDER_RECEIPT = "cross_border_receipt"
    ACCEPTANCE_BILL_RECEIVED = "acceptance_bill_received"
    COLLECTION_VOLUME_GROWTH = "collection_volume_growth"
    TERM_DEPOSIT_MATURING = "term_deposit_maturing"
    ACCOUNT_CLOSING_INTENT = "account_closing_intent"
    LAWSUIT = "lawsuit"
    LAWSUIT_WON = "lawsuit_won"
    ENFORCEMENT_ORDER = "enforcement_order"
    DISHONEST_DEBTOR_LISTED = "dishonest_debtor_listed"
    DISHONEST_DEBTOR_REMOVED = "dishonest_debtor_removed"
    TAX_ARREARS = "tax_arrears"
    TAX_RATING_A = "tax_rating_a"
    ADMINISTRATIVE_PENALTY = "administrative_penalty"
    ABNORMAL_OPERATION_LISTED = "abnormal_operation_listed"
    ENVIRONMENTAL_PENALTY = "environmental_penalty"
    ASSET_FROZEN = "asset_frozen"
    BANKRUPTCY_FILED = "bankruptcy_filed"
    PAYMENT_DEFAULT = "payment_default"
    RATING_UPGRADED = "rating_upgraded"
    RATING_DOWNGRADED = "rating_downgraded"
    NEGATIVE_NEWS = "negative_news"
    CHATTEL_MORTGAGE = "chattel_mortgage"
    OTHER_POSITIVE = "other_positive"
    OTHER_NEGATIVE = "other_negative"


@dataclass(frozen=True, slots=True)
class SignalKind:
    """What a type of signal usually is. `valid_days` is how long it is worth acting on."""

    theme: str
    grade: Grade
    direction: Direction
    valid_days: int
    zh: str
    en: str


_P: Direction = "positive"
_N: Direction = "negative"
SIGNAL_KINDS: Mapping[SignalType, SignalKind] = MappingProxyType(
    {
        SignalType.BID_WON: SignalKind("orders", "A", _P, 180, "中标", "Bid won"),
        SignalType.BID_SHORTLISTED: SignalKind("orders", "C", _P, 60, "入围投标", "Shortlisted in a tender"),
        SignalType.BID_LOST: SignalKind("orders", "D", _N, 60, "投标失利", "Bid lost"),
        SignalType.FRAMEWORK_CONTRACT_SIGNED: SignalKind(
            "orders", "A", _P, 365, "签订框架合同", "Framework contract signed"
        ),
        SignalType.LARGE_ORDER_RECEIVED: SignalKind("orders", "A", _P, 120, "获得大额订单", "Large order received"),
        SignalType.GOVERNMENT_PROCUREMENT_WON: SignalKind(
            "orders", "A", _P, 180, "政府采购中标", "Government procurement won"
        ),
        SignalType.ORDER_CANCELLED: SignalKind("orders", "C", _N, 90, "订单取消", "Order cancelled"),
        SignalType.EXPORT_GROWTH: SignalKind("orders", "B", _P, 90, "出口增长", "Exports growing"),
        SignalType.IMPORT_GROWTH: SignalKind("orders", "B", _P, 90, "进口增长", "Imports growing"),
        SignalType.NEW_MARKET_ENTERED: SignalKind("orders", "B", _P, 180, "进入新市场", "New market entered"),
        SignalType.PROJECT_APPROVED: SignalKind("projects", "A", _P, 365, "项目获批", "Project approved"),
        SignalType.PROJECT_STARTED: SignalKind("projects", "A", _P, 365, "项目开工", "Project started"),
        SignalType.PROJECT_COMPLETED: SignalKind("projects", "B", _P, 120, "项目竣工", "Project completed"),
        SignalType.PROJECT_SUSPENDED: SignalKind("projects", "B", _N, 180, "项目停工", "Project suspended"),
        SignalType.LAND_ACQUIRED: SignalKind("projects", "B", _P, 365, "取得土地", "Land acquired"),
        SignalType.PLANT_EXPANSION: SignalKind("projects", "A", _P, 365, "厂房扩建", "Plant expansion"),
        SignalType.EQUIPMENT_PURCHASE_PLANNED: SignalKind(
            "projects", "B", _P, 180, "计划购置设备", "Equipment purchase planned"
        ),
        SignalType.ENVIRONMENTAL_PERMIT_GRANTED: SignalKind(
            "projects", "C", _P, 365, "获环评批复", "Environmental permit granted"
        ),
        SignalType.BUILDING_PERMIT_GRANTED: SignalKind(
            "projects", "B", _P, 365, "获施工许可", "Building permit granted"
        ),
        SignalType.GREEN_PROJECT_CERTIFIED: SignalKind(
            "projects", "B", _P, 365, "绿色项目认证", "Green project certified"
        ),
        SignalType.CAPITAL_RAISED: SignalKind("capital", "A", _P, 180, "增资", "Capital raised"),
        SignalType.CAPITAL_REDUCED: SignalKind("capital", "C", _N, 180, "减资", "Capital reduced"),
        SignalType.FINANCING_ROUND: SignalKind("capital", "A", _P, 180, "完成融资", "Financing round closed"),
        SignalType.IPO_FILED: SignalKind("capital", "A", _P, 365, "申报上市", "IPO filed"),
        SignalType.IPO_COMPLETED: SignalKind("capital", "A", _P, 365, "上市", "IPO completed"),
        SignalType.BOND_ISSUED: SignalKind("capital", "A", _P, 365, "发行债券", "Bond issued"),
        SignalType.BOND_MATURING: SignalKind("capital", "B", _P, 90, "债券到期", "Bond maturing"),
        SignalType.DIVIDEND_DECLARED: SignalKind("capital", "C", _P, 60, "宣布分红", "Dividend declared"),
        SignalType.SHARE_PLEDGE: SignalKind("capital", "C", _N, 180, "股权质押", "Shares pledged"),
        SignalType.SHARE_PLEDGE_RELEASED: SignalKind("capital", "C", _P, 90, "股权解押", "Share pledge released"),
        SignalType.MERGER_ANNOUNCED: SignalKind("capital", "A", _P, 365, "公告并购", "Merger announced"),
        SignalType.ASSET_SALE: SignalKind("capital", "B", _P, 120, "出售资产", "Asset sale"),
        SignalType.GOVERNMENT_SUBSIDY_GRANTED: SignalKind(
            "capital", "B", _P, 120, "获政府补贴", "Government subsidy granted"
        ),
        SignalType.EQUITY_INCENTIVE_PLANNED: SignalKind(
            "capital", "B", _P, 180, "股权激励计划", "Equity incentive planned"
        ),
        SignalType.COMPANY_FOUNDED: SignalKind("structure", "B", _P, 180, "新设企业", "Company founded"),
        SignalType.SUBSIDIARY_FOUNDED: SignalKind("structure", "B", _P, 180, "设立子公司", "Subsidiary founded"),
        SignalType.BRANCH_OPENED: SignalKind("structure", "C", _P, 120, "设立分支机构", "Branch opened"),
        SignalType.SUBSIDIARY_CLOSED: SignalKind("structure", "D", _N, 120, "注销子公司", "Subsidiary closed"),
        SignalType.EXECUTIVE_CHANGE: SignalKind("structure", "C", _P, 90, "高管变更", "Executive change"),
        SignalType.OWNER_CHANGE: SignalKind("structure", "B", _P, 120, "股东变更", "Change of owner"),
        SignalType.LEGAL_REPRESENTATIVE_CHANGE: SignalKind(
            "structure", "C", _P, 90, "法人变更", "Legal representative changed"
        ),
        SignalType.ADDRESS_MOVED: SignalKind("structure", "C", _P, 90, "迁址", "Address moved"),
        SignalType.BUSINESS_SCOPE_EXTENDED: SignalKind(
            "structure", "C", _P, 180, "经营范围扩大", "Business scope extended"
        ),
        SignalType.NAME_CHANGED: SignalKind("structure", "D", _P, 90, "名称变更", "Name changed"),
        SignalType.HIRING_GROWTH: SignalKind("people", "B", _P, 90, "招聘增长", "Hiring growing"),
        SignalType.LAYOFFS: SignalKind("people", "B", _N, 120, "裁员", "Layoffs"),
        SignalType.PAYROLL_GROWTH: SignalKind("people", "B", _P, 90, "代发增长", "Payroll growing"),
        SignalType.PAYROLL_DROP: SignalKind("people", "C", _N, 90, "代发下降", "Payroll dropping"),
        SignalType.SOCIAL_INSURANCE_GROWTH: SignalKind("people", "C", _P, 90, "参保人数增长", "More insured employees"),
        SignalType.TALENT_TITLE_GRANTED: SignalKind("people", "C", _P, 365, "获人才称号", "Talent title granted"),
        SignalType.PATENT_GRANTED: SignalKind("innovation", "C", _P, 365, "获专利授权", "Patent granted"),
        SignalType.HIGH_TECH_CERTIFIED: SignalKind(
            "innovation", "B", _P, 1095, "高新技术企业认定", "High-tech enterprise certified"
        ),
        SignalType.SPECIALISED_SME_LISTED: SignalKind(
            "innovation", "A", _P, 1095, "专精特新入选", "Listed as specialised SME"
        ),
        SignalType.TRADEMARK_GRANTED: SignalKind("innovation", "D", _P, 365, "获商标注册", "Trademark granted"),
        SignalType.SOFTWARE_COPYRIGHT_GRANTED: SignalKind(
            "innovation", "D", _P, 365, "获软件著作权", "Software copyright granted"
        ),
        SignalType.AWARD_WON: SignalKind("innovation", "D", _P, 180, "获奖", "Award won"),
        SignalType.LOAN_MATURING: SignalKind("banking", "B", _P, 90, "贷款到期", "Loan maturing"),
        SignalType.LOAN_MATURING_ELSEWHERE: SignalKind(
            "banking", "A", _P, 90, "他行贷款到期", "Loan maturing at another bank"
        ),
        SignalType.GUARANTEE_EXPIRING: SignalKind("banking", "C", _P, 60, "担保到期", "Guarantee expiring"),
        SignalType.CREDIT_LINE_UNUSED: SignalKind("banking", "C", _P, 60, "授信闲置", "Credit line unused"),
        SignalType.CREDIT_LINE_EXHAUSTED: SignalKind("banking", "B", _P, 60, "授信用尽", "Credit line exhausted"),
        SignalType.IDLE_BALANCE_GROWTH: SignalKind("banking", "B", _P, 60, "闲置资金增长", "Idle balances growing"),
        SignalType.BALANCE_RUN_OFF: SignalKind("banking", "B", _N, 60, "资金流失", "Balances running off"),
        SignalType.CROSS_BORDER_RECEIPT: SignalKind("banking", "B", _P, 90, "跨境收汇", "Cross-border receipt"),
        SignalType.ACCEPTANCE_BILL_RECEIVED: SignalKind(
            "banking", "B", _P, 90, "收到承兑汇票", "Acceptance bill received"
        ),
        SignalType.COLLECTION_VOLUME_GROWTH: SignalKind(
            "banking", "B", _P, 90, "收单量增长", "Merchant collections growing"
        ),
        SignalType.TERM_DEPOSIT_MATURING: SignalKind("banking", "B", _P, 30, "定期存款到期", "Term deposit maturing"),
        SignalType.ACCOUNT_CLOSING_INTENT: SignalKind("banking", "A", _N, 60, "销户意向", "Intends to close accounts"),
        SignalType.LAWSUIT: SignalKind("risk", "B", _N, 365, "涉诉", "Lawsuit"),
        SignalType.LAWSUIT_WON: SignalKind("risk", "C", _P, 120, "胜诉", "Lawsuit won"),
        SignalType.ENFORCEMENT_ORDER: SignalKind("risk", "A", _N, 730, "被执行", "Enforcement order"),
        SignalType.DISHONEST_DEBTOR_LISTED: SignalKind("risk", "A", _N, 1825, "列入失信", "Listed as dishonest debtor"),
        SignalType.DISHONEST_DEBTOR_REMOVED: SignalKind(
            "risk", "C", _P, 120, "移出失信", "Removed from the dishonest list"
        ),
        SignalType.TAX_ARREARS: SignalKind("risk", "A", _N, 365, "欠税", "Tax arrears"),
        SignalType.TAX_RATING_A: SignalKind("risk", "B", _P, 365, "纳税信用A级", "Tax rating A"),
        SignalType.ADMINISTRATIVE_PENALTY: SignalKind("risk", "B", _N, 365, "行政处罚", "Administrative penalty"),
        SignalType.ABNORMAL_OPERATION_LISTED: SignalKind(
            "risk", "B", _N, 365, "列入经营异常", "Listed for abnormal operation"
        ),
        SignalType.ENVIRONMENTAL_PENALTY: SignalKind("risk", "B", _N, 365, "环保处罚", "Environmental penalty"),
        SignalType.ASSET_FROZEN: SignalKind("risk", "A", _N, 365, "资产冻结", "Assets frozen"),
        SignalType.BANKRUPTCY_FILED: SignalKind("risk", "A", _N, 1825, "申请破产", "Bankruptcy filed"),
        SignalType.PAYMENT_DEFAULT: SignalKind("risk", "A", _N, 730, "债务违约", "Payment default"),
        SignalType.RATING_UPGRADED: SignalKind("risk", "B", _P, 365, "评级上调", "Rating upgraded"),
        SignalType.RATING_DOWNGRADED: SignalKind("risk", "B", _N, 365, "评级下调", "Rating downgraded"),
        SignalType.NEGATIVE_NEWS: SignalKind("risk", "C", _N, 90, "负面舆情", "Negative news"),
        SignalType.CHATTEL_MORTGAGE: SignalKind("risk", "C", _N, 365, "动产抵押", "Chattel mortgage registered"),
        SignalType.OTHER_POSITIVE: SignalKind("other", "D", _P, 30, "其他利好", "Another good sign"),
        SignalType.OTHER_NEGATIVE: SignalKind("other", "D", _N, 30, "其他利空", "Another bad sign"),
    }
)
"""Type to what it usually means; every type has an entry."""
